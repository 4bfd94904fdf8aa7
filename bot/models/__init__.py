"""Models as people see them: the shelf, the list, what one may do with one, and comparing them."""

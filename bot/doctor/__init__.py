"""`defect-studio doctor`: is everything there that the studio needs?"""

"""How things are said in English and Korean where several rooms must say them alike."""

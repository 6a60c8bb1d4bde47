"""What version 3 of the API has beyond version 2 and is built here: libraries and their folders."""

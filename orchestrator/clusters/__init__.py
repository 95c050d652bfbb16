"""Files for Ray's cluster launcher: read, with the line of everything, and checked; no Ray in here."""

"""How far scores spread over places, methods and counts, with the luck of rows and seeds taken out."""

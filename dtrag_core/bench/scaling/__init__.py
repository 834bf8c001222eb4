"""How building, opening, searching and memory grow with the number of chunks."""

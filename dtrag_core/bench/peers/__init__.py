"""Other retrieval libraries, measured beside this one on the same chunks, vectors and queries."""

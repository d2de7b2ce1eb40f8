"""pybpf's tools beside BCC's own, in a guest that has the headers which BCC compiles with."""

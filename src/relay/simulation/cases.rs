//! Single promises of the poll loop, each with a script of its own.

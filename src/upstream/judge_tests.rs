//! Tables of answers and what they are judged to be.

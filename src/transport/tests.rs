//! Tables of what each protocol does.

//! Lists that are told item by item (contract §8).
//!
//! | module | claim it holds |
//! |---|---|
//! | `cursor` | long-polls by entity tag beside the cursor of an upstream |
//! | `items` | §8: lists told item by item |

pub mod cursor;
pub mod items;

//! The command line.

fn main() {
    println!("Hello, world!");
}

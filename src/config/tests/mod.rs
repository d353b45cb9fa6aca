//! t
#[test]
fn quick() {
    for f in ["pollcast", "reference"] {
        match super::load(std::path::Path::new(&format!("conf/{f}.yaml"))) {
            Ok(c) => println!("{c:#?}"),
            Err(e) => println!("{e}"),
        }
    }
    println!("{:#}", super::schema());
}

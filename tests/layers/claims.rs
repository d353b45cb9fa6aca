//! What the rules catch, and what they let be.

use super::{check, check_all};

/// Fails unless `text` as `file` breaks exactly the rules that contain these words, in this order.
fn breaks(file: &str, text: &str, rules: &[&str]) {
    let found = check(file, text, false);
    let matches = found.len() == rules.len() && found.iter().zip(rules).all(|(f, r)| f.contains(r));
    assert!(matches, "{file}: wanted {rules:?}, found {found:#?}");
}

#[test]
fn an_import_from_above_or_beside_is_caught_in_every_spelling() {
    breaks(
        "hub/mod.rs",
        "//! x\nuse crate::front::A;",
        &["src/hub/mod.rs:2: `hub` (layer 3) imports `front`"],
    );
    breaks("hub/a.rs", "//! x\nfn f() { crate::poll::g() }", &["which is above it"]);
    breaks(
        "hub/a.rs",
        "//! x\n\nuse super::super::poll::B;",
        &["src/hub/a.rs:3: `hub` (layer 3) imports `poll`"],
    );
    breaks("poll/a.rs", "//! x\nuse pollcast::transport::T;", &["which is beside it"]);
    breaks("frame.rs", "//! x\nuse super::hub::T;", &["imports `hub`"]);
    let group = "//! x\nuse crate::{config::Config,\n hub::{a, front}, frame,\n app};";
    breaks("hub/a.rs", group, &["hub/a.rs:4: `hub` (layer 3) imports `app`"]);
    breaks("metrics.rs", "//! x\nmacro_rules! m { () => { $crate::hub::x() } }", &["imports `hub`"]);
    breaks("hub/a.rs", "//! x\nuse crate::*;", &["imports `*`"]);
}

#[test]
fn lower_layers_the_own_folder_and_meant_neighbours_are_fine() {
    breaks("hub/a.rs", "//! x\nuse crate::frame::F;\nuse super::topic;\nuse crate::{hub::b, config};", &[]);
    breaks("hub/a/b.rs", "//! x\nuse super::super::topic::T;\npub(crate) fn f() {}", &[]);
    breaks("resource/target.rs", "//! x\nuse crate::config::QueryRule;", &[]);
    breaks("main.rs", "//! x\nuse pollcast::{app, cli};", &[]);
    breaks("lib.rs", "//! x\npub mod hub;\npub use crate::hub::H;", &[]);
}

#[test]
fn comments_literals_and_tests_are_not_code() {
    let text = "//! x crate::front\n/* crate::front /* */ pingora:: */ const A: &str = \"crate::front \\\" \";\n\
                const B: &[u8] = br#\"crate::front \" \"#; const C: char = '\"'; fn f<'a>(a: &'a str) {}\n\
                #[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\n\
                #[cfg(test)]\nmod more { use crate::front::X; fn f() { pingora::x() } }\nuse crate::app::A;";
    breaks("hub/a.rs", text, &["src/hub/a.rs:9: `hub` (layer 3) imports `app`"]);
    breaks("hub/tests.rs", "//! x\nuse crate::front::X;", &[]);
    breaks("hub/topic_tests.rs", "//! x\nuse pingora::X;", &[]);
}

#[test]
fn a_module_declared_for_tests_is_test_code_with_all_below_it() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let upwards = "//! x\nuse crate::front::X;";
    let files = [
        file("hub/mod.rs", "//! x\n#[cfg(test)]\nmod simulation;\nmod topic;"),
        file("hub/simulation.rs", upwards),
        file("hub/simulation/seed.rs", upwards),
        file("hub/topic.rs", upwards),
    ];
    let found = check_all(&files);
    assert!(found.len() == 1 && found[0].starts_with("src/hub/topic.rs:2"), "{found:#?}");
}

#[test]
fn the_proxy_is_named_only_where_it_may_be() {
    let text = "//! x\nuse pingora::Error;\nfn f() -> pingora_core::Result<()> { pingora_free() }";
    breaks("hub/a.rs", text, &["hub/a.rs:2: names pingora", "hub/a.rs:3: names pingora"]);
    breaks("upstream/schedule.rs", "//! x\nuse pingora as p;", &["names pingora"]);
    for file in [
        "upstream/client.rs",
        "upstream/client/exchange.rs",
        "fanout/mod.rs",
        "front/request/route.rs",
        "app.rs",
    ] {
        breaks(file, text, &[]);
    }
}

#[test]
fn names_headers_and_sizes_are_checked() {
    breaks("hub/util.rs", "//! x\n", &["`util` says nothing"]);
    breaks("queue/mod.rs", "//! x\n", &["`queue` has no layer: add it to LAYERS in tests/layers.rs"]);
    breaks("hub/a.rs", "// x\n", &["starts without `//!`"]);
    breaks("hub/a.rs", "//! x\nuse crate::queue::Q;", &["imports `queue`, which has no layer"]);
    let long = format!("//! x\n{}", "const A: u8 = 0;\n".repeat(400));
    breaks("hub/a.rs", &long, &["401 lines without tests, at most 400"]);
    let tested =
        format!("//! x\n{}#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(390), "fn f() {}\n".repeat(50));
    breaks("hub/a.rs", &tested, &[]);
}

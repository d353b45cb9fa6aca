//! Claims about `${NAME}`: what is put in, and that nothing of it leaks.

use super::super::{AdminAddress, Secret, environment::expand};
use super::{ROUTE, SMALLEST, load_text, loaded};

fn expanded(value: &str) -> Result<String, String> {
    let lookup = |name: &str| match name {
        "SET" => Some("value".to_owned()),
        "EMPTY" => Some(String::new()),
        "YAML" => Some("{ a: b }\nc: d".to_owned()),
        "LONG" => Some("x".repeat(70_000)),
        _ => None,
    };
    expand(value, &lookup).map(|value| value.into_owned())
}

#[test]
fn variables_are_put_in() {
    for (value, wanted) in [
        ("plain", "plain"),
        ("${SET}", "value"),
        ("a ${SET} b ${SET}", "a value b value"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-default}", "default"),
        ("${UNSET:-}", ""),
        ("${SET:-default}", "value"),
        ("${UNSET:-a:-b}", "a:-b"),
        ("$SET $ $$ {SET}", "$SET $ $$ {SET}"),
        ("$${SET}", "${SET}"),
        ("$${SET} ${SET}", "${SET} value"),
        ("ü${SET}ü", "üvalueü"),
    ] {
        assert_eq!(expanded(value).as_deref(), Ok(wanted), "{value}");
    }
}

#[test]
fn what_is_no_variable_is_told() {
    for (value, wanted) in [
        ("${UNSET}", "the environment variable UNSET is not set; set it or write ${UNSET:-default}"),
        ("a ${SET", "\"${\" without its \"}\"; write \"$${\" for a literal \"${\""),
        ("${}", "a variable is written ${NAME} or ${NAME:-default}, the name of letters, digits and _"),
        ("${1A}", "a variable is written ${NAME} or ${NAME:-default}, the name of letters, digits and _"),
        ("${UNSET:-${SET}}", "the default of ${UNSET} cannot hold another variable"),
        ("${LONG}", "is longer than 64KiB with the environment put in"),
    ] {
        assert_eq!(expanded(value), Err(wanted.to_owned()), "{value}");
    }
}

#[test]
fn a_variable_cannot_change_the_structure() {
    let text = format!("{SMALLEST}admin: {{ address: 127.0.0.1:9090, token: \"${{TOKEN}}\" }}\n");
    let config = load_text(&text, &[("TOKEN", "x,address:0.0.0.0:1")]).expect("loads");
    let admin = config.admin.expect("there is an admin listener");
    assert_eq!(admin.token, Some(Secret("x,address:0.0.0.0:1".to_owned())));
    assert_eq!(admin.address, AdminAddress::Tcp("127.0.0.1:9090".parse().expect("an address")));
}

#[test]
fn an_empty_token_is_none() {
    let text = format!("{SMALLEST}admin: {{ address: 127.0.0.1:9090, token: \"${{TOKEN:-}}\" }}\n");
    assert_eq!(loaded(&text).admin.expect("there is an admin listener").token, None);
}

#[test]
fn a_variable_that_is_not_set_is_told_at_its_place() {
    let text = format!("{ROUTE}    poll:\n      headers:\n        x-api-key: ${{PRICES_KEY}}\n");
    assert_eq!(
        load_text(&text, &[]).expect_err("refused").to_string(),
        "pollcast.yaml:8: routes[0].poll.headers.x-api-key: the environment variable PRICES_KEY is not set; \
         set it or write ${PRICES_KEY:-default}"
    );
}

#[test]
fn secrets_are_not_printed() {
    let text = format!(
        "{ROUTE}    poll: {{ headers: {{ x-api-key: \"hunter2-${{S}}\" }} }}
    websocket: {{ send: {{ headers: {{ x-send: \"hunter2-${{S}}\" }} }} }}
  - {{ path: /a, upstream: api, poll: {{ auth: {{ bearer: \"hunter2-${{S}}\" }} }} }}
  - {{ path: /b, upstream: api, poll: {{ auth: {{ basic: {{ user: u, password: \"hunter2-${{S}}\" }} }} }} }}
  - path: /c
    upstream: api
    poll: {{ auth: {{ oauth2: {{ token_url: \"https://a/t\", client_id: c, client_secret: \"hunter2-${{S}}\" }} }} }}
admin: {{ address: 127.0.0.1:9090, token: \"hunter2-${{S}}\" }}
version_key: hunter2-${{S}}
"
    );
    let config = load_text(&text, &[("S", "and-more-of-it")]).expect("loads");
    assert_eq!(config.routes[0].poll.headers[0].1, "hunter2-and-more-of-it");
    let shown = format!("{config:?} {config:#?}");
    // What HTTP basic authentication makes of it, too.
    assert!(!shown.contains("dTpodW50ZXIy"), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("and-more-of-it"), "{shown}");
}

#[test]
fn secrets_are_not_in_problems() {
    let text = format!(
        "{ROUTE}    poll: {{ headers: {{ x-api-key: \"${{S}}\", \"bad name\": \"${{S}}\" }}, interval: \"${{S}}\" }}
    share: ${{S}}
    encoding: ${{S}}
    heartbeat: [\"${{S}}\"]
  - {{ path: /a, upstream: api, poll: {{ auth: \"${{S}}\" }} }}
  - {{ path: /b, upstream: api, poll: {{ auth: {{ bearer: \"${{S}}\" }} }} }}
  - {{ path: /c, upstream: api, poll: {{ auth: {{ basic: {{ user: \"a:${{S}}\", password: \"${{S}}\" }} }} }} }}
  - path: /d
    upstream: api
    poll: {{ auth: {{ oauth2: {{ token_url: \"${{S}}\", client_id: c, client_secret: \"${{S}}\" }} }} }}
admin: {{ address: \"${{S}}\", token: \"${{S}}\" }}
version_key: {{ a: \"${{S}}\" }}
passthrough: ${{S}}
"
    );
    let problems = load_text(&text, &[("S", "hunter2 \n ü")]).expect_err("refused").to_string();
    assert!(problems.lines().count() >= 9, "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
    assert!(
        problems.contains("pollcast.yaml:6: routes[0].poll.interval: \"${S}\" is not a length of time"),
        "{problems}"
    );
}

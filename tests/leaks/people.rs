//! Alice, Robert and an anonymous client: their credentials, the places for these, and the data that must never reach
//! another.
//!
//! Must not know: pollcast's configuration beyond where a credential stands.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::support;
use crate::support::legacy::Seen;

/// Signs the tokens.
pub const SECRET: &str = "a secret of more than thirty-two characters";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Person {
    Alice,
    Robert,
    Nobody,
}

pub const EVERYBODY: [Person; 3] = [Person::Alice, Person::Robert, Person::Nobody];

/// The persons with rows of their own.
pub const USERS: [Person; 2] = [Person::Alice, Person::Robert];

impl Person {
    pub fn name(self) -> &'static str {
        match self {
            Person::Alice => "alice",
            Person::Robert => "robert",
            Person::Nobody => "nobody",
        }
    }

    /// The person whose things this one asks for.
    pub fn other(self) -> Person {
        match self {
            Person::Alice => Person::Robert,
            Person::Robert | Person::Nobody => Person::Alice,
        }
    }

    /// The credential, which alone identifies a person.
    pub fn key(self) -> &'static str {
        match self {
            Person::Alice => "k3yOf-alice-5d0f72c9",
            Person::Robert => "k3yOf-robert-81ab4e6f",
            Person::Nobody => "k3yOf-nobody-00000000",
        }
    }

    /// What every row of this one contains.
    pub fn mark(self) -> &'static str {
        match self {
            Person::Alice => "ZqRowsOfAliceX71",
            Person::Robert => "ZqRowsOfRobertX93",
            Person::Nobody => "ZqRowsOfNobodyX00",
        }
    }

    pub fn basic(self) -> String {
        STANDARD.encode(format!("{}:{}", self.name(), self.key()))
    }

    pub fn token(self) -> &'static str {
        static TOKENS: LazyLock<[String; 3]> = LazyLock::new(|| EVERYBODY.map(signed));
        &TOKENS[self as usize]
    }

    /// A token that calls everybody the same, each in the name of an issuer of its own.
    pub fn twin_token(self) -> &'static str {
        static TOKENS: LazyLock<[String; 3]> = LazyLock::new(|| {
            EVERYBODY.map(|person| token(person.issuer(), &format!("{SECRET} of {}", person.name()), TWIN))
        });
        &TOKENS[self as usize]
    }

    /// The issuer whose tokens call it [`TWIN`].
    fn issuer(self) -> &'static str {
        match self {
            Person::Alice => "https://alice.test",
            Person::Robert => "https://robert.test",
            Person::Nobody => "https://nobody.test",
        }
    }

    /// By which an upstream knows this one.
    pub fn credentials(self) -> [String; 5] {
        let namesake = if self == Person::Alice { namesake_token() } else { self.key() };
        [self.key(), &self.basic(), self.token(), self.twin_token(), namesake].map(str::to_owned)
    }
}

/// What both are called, each by an issuer of its own.
const TWIN: &str = "twin";

/// What both are called, each by a way in of its own: Alice by a token, Robert by a key.
const NAMESAKE: &str = "namesake";

fn signed(person: Person) -> String {
    token("https://issuer.test", SECRET, person.name())
}

fn namesake_token() -> &'static str {
    static TOKEN: LazyLock<String> = LazyLock::new(|| token("https://issuer.test", SECRET, NAMESAKE));
    &TOKEN
}

fn token(issuer: &str, secret: &str, subject: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let claims = json!({ "sub": subject, "iss": issuer, "exp": now + 3600 });
    let key = EncodingKey::from_secret(secret.as_bytes());
    support::token::encode(&Header::default(), &claims, &key)
}

/// The users that the legacy API sees in a request; more than one means that one user's credentials went along with another's.
pub fn askers(seen: &Seen) -> Vec<Person> {
    let head = String::from_utf8_lossy(&seen.head);
    let subjects = seen.headers("x-pollcast-subject");
    let is_namesake = |person: &Person| {
        let way = if *person == Person::Alice { "jwt" } else { "keys" };
        subjects == [NAMESAKE] && seen.headers("x-pollcast-way") == [way]
    };
    let is_twin =
        |person: &Person| subjects == [TWIN] && seen.headers("x-pollcast-issuer") == [person.issuer()];
    let is = |person: &Person| {
        is_twin(person)
            || is_namesake(person)
            || person.credentials().iter().any(|credential| head.contains(credential))
            || subjects.iter().any(|subject| subject.contains(person.name()))
    };
    USERS.into_iter().filter(is).collect()
}

/// The place of the credentials in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    Bearer,
    Basic,
    Cookie,
    TwoCookies,
    ApiKey,
    AuthToken,
    ProxyAuthorization,
    /// A header that the route's `credentials` names.
    Named,
    /// A key that the route's `authenticate` knows.
    KnownKey,
    Jwt,
    JwtCookie,
    JwtQuery,
    /// What a server that is asked about each client knows.
    Forward,
    ForwardCookie,
    /// A certificate that the listener verified.
    Certificate,
    /// Tokens of two issuers that call both the same.
    TwoIssuers,
    /// A token and a key that call both the same.
    TwoWays,
    /// What a proxy in front says of its users.
    ForwardedUser,
    /// The same in another proxy's words.
    OidcIdentity,
    /// The same in a third one's.
    CfAccess,
    /// What proves its user to a connection, not to a request.
    Negotiate,
}

pub const PLACES: [Place; 21] = [
    Place::Bearer,
    Place::Basic,
    Place::Cookie,
    Place::TwoCookies,
    Place::ApiKey,
    Place::AuthToken,
    Place::ProxyAuthorization,
    Place::Named,
    Place::KnownKey,
    Place::Jwt,
    Place::JwtCookie,
    Place::JwtQuery,
    Place::Forward,
    Place::ForwardCookie,
    Place::Certificate,
    Place::TwoIssuers,
    Place::TwoWays,
    Place::ForwardedUser,
    Place::OidcIdentity,
    Place::CfAccess,
    Place::Negotiate,
];

impl Place {
    /// The header that says it; `None` if the query does, or the connection.
    pub fn field(self, person: Person) -> Option<(&'static str, String)> {
        let key = person.key();
        let (name, value) = match self {
            Place::Bearer | Place::Forward => ("authorization", format!("Bearer {key}")),
            Place::Basic => ("authorization", format!("Basic {}", person.basic())),
            Place::Cookie | Place::ForwardCookie => ("cookie", format!("session={key}")),
            Place::TwoCookies => ("cookie", format!("session={key}; csrf=of-{}", person.name())),
            Place::ApiKey | Place::KnownKey => ("x-api-key", key.to_owned()),
            Place::AuthToken => ("x-auth-token", key.to_owned()),
            Place::ProxyAuthorization => ("proxy-authorization", format!("Bearer {key}")),
            Place::Named => ("x-tenant", key.to_owned()),
            Place::Jwt => ("authorization", format!("Bearer {}", person.token())),
            Place::JwtCookie => ("cookie", format!("session={}", person.token())),
            Place::TwoIssuers => ("authorization", format!("Bearer {}", person.twin_token())),
            Place::TwoWays if person == Person::Alice => {
                ("authorization", format!("Bearer {}", namesake_token()))
            }
            Place::TwoWays => ("x-api-key", key.to_owned()),
            Place::ForwardedUser => ("x-forwarded-user", key.to_owned()),
            Place::OidcIdentity => ("x-amzn-oidc-identity", key.to_owned()),
            Place::CfAccess => ("cf-access-jwt-assertion", key.to_owned()),
            Place::Negotiate => ("authorization", format!("Negotiate {key}")),
            Place::JwtQuery | Place::Certificate => return None,
        };
        Some((name, value))
    }

    /// What `share: {by: …}` names.
    pub fn class(self) -> &'static str {
        match self {
            Place::Bearer
            | Place::Basic
            | Place::Jwt
            | Place::JwtQuery
            | Place::Forward
            | Place::Negotiate => "authorization",
            Place::Cookie | Place::JwtCookie | Place::ForwardCookie => "'cookie:session'",
            Place::Certificate | Place::TwoIssuers | Place::TwoWays => "'identity:subject'",
            Place::ForwardedUser => "x-forwarded-user",
            Place::OidcIdentity => "x-amzn-oidc-identity",
            Place::CfAccess => "cf-access-jwt-assertion",
            Place::TwoCookies => "'cookie:session', 'cookie:csrf'",
            Place::ApiKey | Place::KnownKey => "x-api-key",
            Place::AuthToken => "x-auth-token",
            Place::ProxyAuthorization => "proxy-authorization",
            Place::Named => "x-tenant",
        }
    }

    /// What the route has to say so that it stands there. `oracle`: of the server that is asked about clients.
    pub fn route(self, oracle: SocketAddr) -> String {
        match self {
            Place::Named => ", credentials: [x-tenant]".to_owned(),
            Place::KnownKey => {
                let [alice, robert] = USERS.map(Person::key);
                let clients = format!("{{alice: {alice}, robert: {robert}}}");
                format!(", authenticate: {{keys: {{header: x-api-key, clients: {clients}}}}}")
            }
            Place::Jwt | Place::JwtCookie | Place::JwtQuery => format!(
                ", authenticate: {{jwt: {{algorithms: [HS256], keys: [{{secret: '{SECRET}'}}]}}, \
                 token: {{query: token, cookie: session}}}}"
            ),
            Place::Forward | Place::ForwardCookie => format!(
                ", authenticate: {{forward: {{url: 'http://{oracle}/check', headers: [authorization, cookie], \
                 cache: 1s}}}}"
            ),
            Place::Certificate => ", authenticate: {client_certificate: true}".to_owned(),
            Place::TwoIssuers => {
                let issuer = |person: Person| {
                    let (issuer, name) = (person.issuer(), person.name());
                    format!(
                        "{{issuer: '{issuer}', algorithms: [HS256], keys: [{{secret: '{SECRET} of {name}'}}]}}"
                    )
                };
                let issuers = USERS.map(issuer).join(", ");
                format!(", authenticate: {{jwt: {{issuers: [{issuers}]}}}}")
            }
            Place::TwoWays => format!(
                ", authenticate: {{jwt: {{algorithms: [HS256], keys: [{{secret: '{SECRET}'}}]}}, \
                 keys: {{header: x-api-key, clients: {{{NAMESAKE}: {}}}}}}}",
                Person::Robert.key()
            ),
            _ => String::new(),
        }
    }

    /// Whether pollcast itself authenticates the client.
    pub fn proves(self) -> bool {
        let tokens = matches!(self, Place::KnownKey | Place::Jwt | Place::JwtCookie | Place::JwtQuery);
        let names = matches!(self, Place::TwoIssuers | Place::TwoWays);
        tokens || names || matches!(self, Place::Forward | Place::ForwardCookie | Place::Certificate)
    }
}

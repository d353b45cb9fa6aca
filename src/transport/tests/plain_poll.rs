//! Ordinary polls that repeat: how long the front's decision counts, and what ends it.

use super::*;
use crate::hub::Publisher;

const HEAD: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

struct Stage {
    publisher: Publisher,
    plain: Plain,
    heads: Heads,
    began: Instant,
}

fn typed(content_type: &'static str, body: &'static [u8]) -> Arc<Snapshot> {
    Arc::new(Snapshot::new(
        version(body),
        StatusCode::OK,
        Some(HeaderValue::from_static(content_type)),
        HeaderMap::new(),
        Validators::default(),
        Vec::new(),
        Bytes::from_static(body),
    ))
}

/// A connection whose first request was answered with `{}` by the front.
fn stage(extra: &'static [u8]) -> Stage {
    let hub = Hub::new(Vec::new(), 1, 1 << 20);
    let (mut publisher, route) = (None, Arc::new(route()));
    let attendance = hub.attend(&key("/a"), &route, Attend::Visit, |given| publisher = Some(given));
    let (attendance, mut publisher) = (attendance.expect("room"), publisher.expect("the first to attend"));
    publish(&mut publisher, typed("application/json", b"{}"));
    let began = Instant::now();
    let repeat = Repeat::of(HEAD, began, 1, Differing::Condition).expect("a plain head");
    let plain = Plain::new(attendance, (7, None), route, Bytes::from_static(extra), false, repeat);
    Stage { publisher, plain, heads: Heads::default(), began }
}

fn publish(publisher: &mut Publisher, snapshot: Arc<Snapshot>) {
    let number = publisher.start_poll();
    publisher.publish(number, snapshot, Duration::ZERO);
    publisher.schedule(None, Duration::from_secs(600), crate::upstream::schedule::Why::Interval);
}

impl Stage {
    /// The text of the answer to a request that comes so long after the first one.
    fn answer(&mut self, after: Duration) -> Option<String> {
        let answered = self.plain.answer(None, self.began + after, &mut self.heads)?;
        Some(text(&answered.output))
    }

    fn counts_until(&self) -> Duration {
        self.plain.repeat.until().duration_since(self.began)
    }
}

#[tokio::test]
async fn each_answer_has_the_decision_count_for_another_minute() {
    let mut stage = stage(b"");
    assert_eq!(stage.counts_until(), Duration::from_secs(60));
    for seconds in [2, 50, 100, 10_000] {
        assert!(stage.answer(Duration::from_secs(seconds)).is_some_and(|text| text.ends_with("\r\n\r\n{}")));
        assert_eq!(stage.counts_until(), Duration::from_secs(seconds + 60));
    }
}

#[tokio::test]
async fn a_new_state_of_the_same_type_is_answered_and_one_of_another_type_is_the_fronts() {
    let mut stage = stage(b"");
    publish(&mut stage.publisher, typed("application/json", b"[1]"));
    assert!(stage.answer(SECOND).is_some_and(|text| text.ends_with("[1]")));
    let before = stage.counts_until();
    publish(&mut stage.publisher, typed("text/html", b"<p>"));
    assert_eq!(stage.answer(SECOND * 5), None);
    assert_eq!(stage.counts_until(), before, "what is not answered renews nothing");
}

#[tokio::test]
async fn heads_are_shared_and_lines_of_one_client_are_not() {
    let (mut one, mut other) = (stage(b""), stage(b"Access-Control-Allow-Origin: https://a.example\r\n"));
    let plain = one.answer(SECOND).expect("an answer");
    other.heads = std::mem::take(&mut one.heads);
    let own = other.answer(SECOND).expect("an answer");
    assert!(own.contains("\r\nAccess-Control-Allow-Origin: https://a.example\r\n\r\n{}"), "{own}");
    assert!(!plain.contains("Access-Control"), "{plain}");
    assert_eq!(one.answer(SECOND), Some(plain));
}

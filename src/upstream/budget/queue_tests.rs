//! What the queue promises: never too many, every waiter in the end, clients first.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn budget(rate: f64, burst: u32, max_concurrent: usize) -> Option<Budget> {
    Some(Budget { rate, burst, max_concurrent, scope: crate::config::BudgetScope::Node })
}

fn of(class: Class, weight: u32) -> Priority {
    Priority { class, weight, patience: None }
}

fn fill(queue: &mut Queue, count: usize, priority: Priority, now: Instant) {
    for _ in 0..count {
        queue.enter(priority, now);
    }
}

/// All turns of a time, each of them finished at once.
fn turns(queue: &mut Queue, mut now: Instant, until: Instant) -> Vec<(Instant, Ticket)> {
    let mut had = Vec::new();
    loop {
        match queue.next(now) {
            Ok(ticket) => {
                had.push((now, ticket));
                queue.finish();
            }
            Err(Some(at)) if at <= until => now = at,
            Err(_) => return had,
        }
    }
}

#[test]
fn without_a_budget_every_request_goes() {
    let now = Instant::now();
    let mut queue = Queue::new(None, now);
    assert!(queue.is_open(now));
    fill(&mut queue, 100, of(Class::Scheduled, 1), now);
    assert_eq!(turns(&mut queue, now, now).len(), 100);
}

#[test]
fn ten_thousand_resources_never_send_more_than_the_budget() {
    let start = Instant::now();
    let mut queue = Queue::new(budget(50.0, 50, 16), start);
    let mut of_ticket: HashMap<Ticket, usize> = HashMap::new();
    let mut last = vec![start; 10_000];
    let mut longest = Duration::ZERO;
    for resource in 0..10_000 {
        of_ticket.insert(queue.enter(of(Class::Scheduled, 1 + (resource % 8) as u32), start), resource);
    }
    let (mut now, mut sent) = (start, Vec::new());
    let end = start + 1200 * SECOND;
    while now < end {
        match queue.next(now) {
            Ok(ticket) => {
                let resource = of_ticket.remove(&ticket).unwrap();
                longest = longest.max(now - last[resource]);
                last[resource] = now;
                sent.push(now);
                queue.finish();
                // Due again at once: all of them want more than there is.
                of_ticket.insert(queue.enter(of(Class::Scheduled, 1 + (resource % 8) as u32), now), resource);
            }
            Err(Some(at)) => now = at,
            Err(None) => panic!("somebody always waits"),
        }
    }
    for window in [1, 10, 60] {
        let window = window * SECOND;
        let mut from = 0;
        for (index, at) in sent.iter().enumerate() {
            while *at - sent[from] >= window {
                from += 1;
            }
            let most = 50.0 * window.as_secs_f64() + 51.0;
            assert!((index - from + 1) as f64 <= most, "{} in {window:?}", index - from + 1);
        }
    }
    assert!(sent.len() as f64 >= 0.9 * 50.0 * 1200.0, "{}: the budget is used", sent.len());
    assert!(longest <= 20 * 200 * SECOND, "{longest:?}: everybody has a turn");
    assert!(last.iter().all(|at| *at > start), "nobody is forgotten");
}

#[test]
fn classes_share_as_promised_and_lend_what_they_leave() {
    let now = Instant::now();
    let mut queue = Queue::new(budget(100.0, 1, 1000), now);
    let mut class_of = HashMap::new();
    for class in [Class::Interactive, Class::Scheduled, Class::Refresh] {
        for _ in 0..2000 {
            class_of.insert(queue.enter(of(class, 1), now), class);
        }
    }
    let had = turns(&mut queue, now, now + 10 * SECOND);
    let count = |class| had.iter().filter(|(_, ticket)| class_of[ticket] == class).count();
    let total = had.len() as f64;
    for (class, share) in [(Class::Interactive, 0.4), (Class::Scheduled, 0.5), (Class::Refresh, 0.1)] {
        let found = count(class) as f64 / total;
        assert!((found - share).abs() < 0.02, "{class:?}: {found}");
    }
    let mut alone = Queue::new(budget(100.0, 1, 1000), now);
    fill(&mut alone, 2000, of(Class::Refresh, 1), now);
    assert!(turns(&mut alone, now, now + 10 * SECOND).len() >= 900, "what others leave is lent");
}

#[test]
fn heavier_resources_come_more_often() {
    let start = Instant::now();
    let mut queue = Queue::new(budget(100.0, 1, 1000), start);
    let mut of_ticket = HashMap::new();
    let weight = |resource: usize| if resource < 10 { 4 } else { 1 };
    for resource in 0..100 {
        of_ticket.insert(queue.enter(of(Class::Scheduled, weight(resource)), start), resource);
    }
    let (mut now, mut count) = (start, vec![0usize; 100]);
    while now < start + 60 * SECOND {
        match queue.next(now) {
            Ok(ticket) => {
                let resource = of_ticket.remove(&ticket).unwrap();
                count[resource] += 1;
                queue.finish();
                of_ticket.insert(queue.enter(of(Class::Scheduled, weight(resource)), now), resource);
            }
            Err(at) => now = at.unwrap(),
        }
    }
    let heavy = count[..10].iter().sum::<usize>() as f64 / 10.0;
    let light = count[10..].iter().sum::<usize>() as f64 / 90.0;
    assert!((2.5..=5.0).contains(&(heavy / light)), "{heavy} against {light}");
}

#[test]
fn a_waiter_that_is_about_to_give_up_goes_first() {
    let now = Instant::now();
    let mut queue = Queue::new(budget(1.0, 1, 1000), now);
    fill(&mut queue, 100, of(Class::Scheduled, 100), now);
    assert!(queue.next(now).is_ok());
    let patient = Priority { patience: Some(2 * SECOND), ..of(Class::Interactive, 1) };
    let ticket = queue.enter(patient, now);
    assert_eq!(queue.next(now + 2 * SECOND), Ok(ticket));
}

#[test]
fn no_more_are_in_flight_than_may_be() {
    let now = Instant::now();
    let mut queue = Queue::new(budget(1000.0, 1000, 3), now);
    fill(&mut queue, 10, of(Class::Scheduled, 1), now);
    assert!((0..3).all(|_| queue.next(now).is_ok()));
    assert_eq!(queue.next(now), Err(None));
    queue.finish();
    assert!(queue.next(now).is_ok());
}

#[test]
fn the_upstreams_quota_slows_all_requests_until_it_is_reset() {
    let now = Instant::now();
    let mut queue = Queue::new(None, now);
    queue.learn(0.0, 10 * SECOND, now);
    assert!(!queue.is_open(now));
    fill(&mut queue, 5, of(Class::Scheduled, 1), now);
    let mut at = now;
    while let Err(next) = queue.next(at) {
        at = next.expect("a time to ask again");
    }
    assert!(at >= now + 10 * SECOND, "nothing is left until then");
    assert!(queue.is_open(at));
    let mut slow = Queue::new(None, now);
    slow.learn(2.0, 10 * SECOND, now);
    fill(&mut slow, 100, of(Class::Scheduled, 1), now);
    let had = turns(&mut slow, now, now + 9 * SECOND).len();
    assert!((15..=20).contains(&had), "{had}");
}

proptest! {
    #[test]
    fn a_waiter_that_leaves_has_no_turn_and_every_other_has_one(
        entries in proptest::collection::vec((0usize..3, 1u32..50, any::<bool>()), 1..60),
    ) {
        let now = Instant::now();
        let mut queue = Queue::new(budget(10.0, 5, 100), now);
        let classes = [Class::Interactive, Class::Scheduled, Class::Refresh];
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        for (class, weight, leaves) in entries {
            let ticket = queue.enter(of(classes[class], weight), now);
            if leaves { go.push(ticket) } else { stay.push(ticket) }
        }
        go.iter().for_each(|ticket| queue.leave(*ticket));
        let mut had: Vec<Ticket> =
            turns(&mut queue, now, now + 100 * SECOND).into_iter().map(|(_, ticket)| ticket).collect();
        had.sort_unstable();
        prop_assert_eq!(had, stay);
        prop_assert_eq!(queue.len(), 0);
    }
}

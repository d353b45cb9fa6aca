//! The room of poll bodies: what fits, which polls wait, and that none waits for ever.

use proptest::prelude::*;

use super::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn room(bytes: usize, largest: usize) -> BodyRoom {
    let gauge = IntGauge::new("bytes", "Bytes.").unwrap();
    BodyRoom::new(bytes, largest, gauge, IntCounter::new("waits", "Waits.").unwrap())
}

fn shown(room: &BodyRoom) -> usize {
    room.0.bytes.get() as usize
}

/// Reads a body of so many bytes to its end, part by part.
async fn read(claim: &Arc<BodyClaim>, bytes: usize) -> HeldBody {
    let mut body = claim.body();
    let mut read = 0;
    while read < bytes {
        let part = (bytes - read).min(PART_BYTES_MAX);
        body.reserve(read + part).await;
        read += part;
        body.set(read);
        tokio::task::yield_now().await;
    }
    body
}

async fn is_waiting<T>(work: &mut (impl Future<Output = T> + Unpin)) -> bool {
    tokio::select! {
        biased;
        _ = work => false,
        () = tokio::time::sleep(Duration::from_millis(1)) => true,
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_room_waits_for_the_end_of_another_and_loses_nothing() {
    let room = room(8 * MIB, MIB);
    let claims: Vec<_> = (0..20).map(|_| room.claim()).collect();
    let mut reading: Vec<_> = claims.iter().map(|claim| Box::pin(read(claim, 900 * KIB))).collect();
    let mut held = Vec::new();
    for body in &mut reading {
        tokio::select! {
            biased;
            body = body => held.push(body),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    let (had, most) = (held.len(), shown(&room));
    assert!((4..20).contains(&had) && most <= 8 * MIB, "{had} bodies, {most} bytes");
    assert!(room.0.waits.get() > 0);
    drop(held);
    for body in reading.into_iter().skip(had) {
        assert_eq!(body.await.bytes(), 900 * KIB);
        assert!(shown(&room) <= 8 * MIB);
    }
    drop(claims);
    assert_eq!(shown(&room), 0);
}

#[tokio::test(start_paused = true)]
async fn small_polls_find_room_while_large_ones_wait() {
    let room = room(8 * MIB, MIB);
    let (large, other, small) = (room.claim(), room.claim(), room.claim());
    let mut all = large.body();
    all.reserve(5 * MIB).await;
    let mut waiting = Box::pin(read(&other, MIB));
    // It gets the lead, and ends.
    let lead = (&mut waiting).await;
    let third = room.claim();
    let mut waiting = Box::pin(read(&third, MIB));
    assert!(is_waiting(&mut waiting).await);
    small.admitted().await;
    let body = read(&small, 100 * KIB).await;
    assert_eq!(small.waited(), Duration::ZERO);
    assert!(third.waited() > Duration::ZERO);
    drop((body, lead));
    waiting.await;
}

#[tokio::test(start_paused = true)]
async fn a_body_larger_than_the_room_is_read_while_the_others_wait() {
    let room = room(MIB, 16 * MIB);
    let (giant, other) = (room.claim(), room.claim());
    let body = read(&giant, 10 * MIB).await;
    assert_eq!(shown(&room), 10 * MIB);
    let mut waiting = Box::pin(read(&other, KIB));
    assert!(is_waiting(&mut waiting).await);
    drop(body);
    assert_eq!(waiting.await.bytes(), KIB);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_leads_and_waits_for_another_gives_the_lead_up() {
    for says_so in [true, false] {
        let room = room(MIB, 16 * MIB);
        let (first, second) = (room.claim(), room.claim());
        let held = read(&first, 10 * MIB).await;
        let mut waiting = Box::pin(read(&second, 10 * MIB));
        assert!(is_waiting(&mut waiting).await);
        if says_so {
            first.step_aside();
        }
        // Of one that does not say so it is taken.
        let began = Instant::now();
        waiting.await;
        assert_eq!(began.elapsed() < LEAD_TERM / 2, says_so);
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_ends_while_it_waits_leaves_nothing_behind() {
    let room = room(2 * MIB, MIB);
    let claims = [room.claim(), room.claim(), room.claim(), room.claim()];
    let lead = read(&claims[0], MIB).await;
    let second = read(&claims[1], MIB).await;
    let mut third = Box::pin(read(&claims[2], MIB));
    let mut fourth = Box::pin(read(&claims[3], MIB));
    assert!(is_waiting(&mut third).await && is_waiting(&mut fourth).await);
    // There is room for the third, which goes before it sees that.
    drop((lead, second));
    drop(third);
    drop(fourth.await);
    assert_eq!(shown(&room), 0);
    let state = room.0.state.lock();
    assert!(state.small.is_empty() && state.large.is_empty() && state.lead.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_poll_stops_while_it_waits_for_room() {
    const LIMIT: Duration = Duration::from_secs(2);
    let room = room(MIB, 16 * MIB);
    let (giant, other) = (room.claim(), room.claim());
    let body = read(&giant, 10 * MIB).await;
    let mut work = Box::pin(async {
        let body = read(&other, KIB).await;
        tokio::time::sleep(LIMIT / 2).await;
        body.bytes()
    });
    let mut timed = Box::pin(BodyClaim::timeout(Some(&other), LIMIT, &mut work));
    tokio::select! {
        biased;
        _ = &mut timed => panic!("there is no room"),
        () = sleep(LIMIT * 2) => {}
    }
    drop(body);
    assert_eq!(timed.await, Some(KIB));
    let mut never = Box::pin(std::future::pending::<()>());
    assert_eq!(BodyClaim::timeout(Some(&other), LIMIT, &mut never).await, None);
}

#[derive(Debug, Clone)]
struct Plan {
    bodies: Vec<usize>,
    pause: u64,
    is_cut: bool,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let bodies = prop::collection::vec(0..2 * MIB, 1..4);
    let plan = (bodies, 0..50u64, any::<bool>());
    prop::collection::vec(plan.prop_map(|(bodies, pause, is_cut)| Plan { bodies, pause, is_cut }), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn polls_of_any_kind_end_and_hold_no_more_than_the_room(plans in plans()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let room = room(8 * MIB, 2 * MIB);
            let most = Arc::new(AtomicU64::new(0));
            let polls: Vec<_> = plans.into_iter().map(|plan| {
                let (room, most) = (room.clone(), most.clone());
                tokio::spawn(async move {
                    let claim = room.claim();
                    claim.admitted().await;
                    for bytes in plan.bodies {
                        let pause = Duration::from_millis(plan.pause);
                        let reading = async {
                            let body = read(&claim, bytes).await;
                            most.fetch_max(shown(&room) as u64, Ordering::Relaxed);
                            sleep(pause).await;
                            assert_eq!(body.bytes(), bytes);
                        };
                        match plan.is_cut {
                            true => { let _ = tokio::time::timeout(pause, reading).await; }
                            false => reading.await,
                        }
                    }
                })
            }).collect();
            for poll in polls {
                poll.await.unwrap();
            }
            assert_eq!(shown(&room), 0);
            assert!(most.load(Ordering::Relaxed) as usize <= 8 * MIB);
        });
    }
}

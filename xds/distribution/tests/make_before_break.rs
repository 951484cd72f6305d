//! A route that moves from one cluster to another: the new cluster first, then the route, and last the old one's end.

mod common;

use std::time::{Duration, Instant};

use common::{CDS, Edit, LDS, RDS, World, request};
use meltemi_distribution::{Ask, Protocol, Response, SETTLE, Stream, version_text};

struct Client {
    stream: Stream,
    now: Instant,
}

impl Client {
    /// Has cluster `a` and route `r`, and has acknowledged both.
    fn settled(world: &World) -> Self {
        let mut client = Self { stream: Stream::new(Protocol::Delta, 1), now: Instant::now() };
        client.ask(CDS, &[], &[]);
        client.ask(RDS, &["r"], &[]);
        for url in [CDS, RDS] {
            let response = client.expect(world, url);
            client.acknowledge(&response);
        }
        client
    }

    fn ask(&mut self, url: &str, names: &[&str], known: &[(&str, u64)]) {
        let subscribe = names.iter().map(ToString::to_string).collect();
        let known = known.iter().map(|(n, v)| ((*n).to_owned(), version_text(*v))).collect();
        self.stream
            .request(request(url, "", false, Ask::Delta { subscribe, unsubscribe: vec![], known }))
            .unwrap();
    }

    fn acknowledge(&mut self, response: &Response) {
        let ask = Ask::Delta { subscribe: vec![], unsubscribe: vec![], known: vec![] };
        self.stream.request(request(&response.type_url, &response.nonce, false, ask)).unwrap();
    }

    fn expect(&mut self, world: &World, url: &str) -> Response {
        let response = self.stream.next(world, self.now).expect("a response is due");
        assert_eq!(*response.type_url, *url);
        response
    }

    fn expect_nothing(&mut self, world: &World) {
        let response = self.stream.next(world, self.now);
        assert!(response.is_none(), "{response:?}");
    }
}

fn world() -> World {
    let mut world = World::default();
    world.edit(&[(CDS, "a", Some(1)), (RDS, "r", Some(1))]);
    world
}

const MOVE: &[Edit] = &[(CDS, "a", None), (CDS, "b", Some(1)), (RDS, "r", Some(2))];

#[test]
fn a_route_waits_for_its_new_cluster_and_the_old_ones_end_for_the_route() {
    let mut world = world();
    let mut client = Client::settled(&world);
    world.edit(MOVE);
    let cluster = client.expect(&world, CDS);
    assert!(cluster.removed.is_empty());
    client.expect_nothing(&world);
    client.acknowledge(&cluster);
    let route = client.expect(&world, RDS);
    client.expect_nothing(&world);
    client.acknowledge(&route);
    let end = client.expect(&world, CDS);
    assert_eq!(end.removed.len(), 1);
}

#[test]
fn a_client_that_settles_nothing_is_not_waited_for_long() {
    let mut world = world();
    let mut client = Client::settled(&world);
    world.edit(MOVE);
    client.expect(&world, CDS);
    client.expect_nothing(&world);
    assert_eq!(client.stream.wake_at(), Some(client.now + SETTLE));
    client.now += SETTLE / 2;
    // More new clusters don't make it longer.
    world.edit(&[(CDS, "c", Some(1))]);
    client.expect(&world, CDS);
    client.expect_nothing(&world);
    client.now += SETTLE / 2;
    client.expect(&world, RDS);
}

#[test]
fn nothing_waits_for_clusters_that_the_client_has() {
    let mut world = world();
    let mut client = Client::settled(&world);
    // The old form of a cluster serves until the new one has all it needs.
    world.edit(&[(CDS, "a", Some(2)), (RDS, "r", Some(2))]);
    client.expect(&world, CDS);
    client.expect(&world, RDS);
}

#[test]
fn what_a_client_asks_for_does_not_wait() {
    let mut world = world();
    let mut client = Client::settled(&world);
    world.edit(&[(CDS, "b", Some(1)), (LDS, "l", Some(1))]);
    client.expect(&world, CDS);
    client.ask(LDS, &[], &[]);
    client.expect(&world, LDS);
    client.now += Duration::from_millis(1);
    client.expect_nothing(&world);
}

#[test]
fn a_client_that_comes_back_goes_on_with_its_routes_until_new_clusters_are_settled() {
    let mut world = world();
    world.edit(MOVE);
    let mut client = Client { stream: Stream::new(Protocol::Delta, 2), now: Instant::now() };
    client.ask(CDS, &["*"], &[("a", 1)]);
    client.ask(RDS, &["r"], &[("r", 1)]);
    let cluster = client.expect(&world, CDS);
    client.expect_nothing(&world);
    client.acknowledge(&cluster);
    client.expect(&world, RDS);
}

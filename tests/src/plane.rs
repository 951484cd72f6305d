//! The engine and its xDS server in the test's own process. Each stream is of whom its request says: what proves that
//! is the business of other tests.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use meltemi_control_plane::sources::decode::{self, Outcome};
use meltemi_server::{Ads, Authenticator, Call, Identities, Registry, engine::Engine, plaintext, serve_on};
use meltemi_world::{Change, Kind, NsName, Snapshot, World, snapshot::Settings};
use serde_json::Value;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use crate::netns::Place;

/// A running control plane, ended on drop.
pub struct Plane {
    world: Mutex<World>,
    engine: Arc<Engine>,
    ads: Ads,
    /// Who is connected.
    pub proxies: Arc<Registry>,
    serving: JoinHandle<()>,
}

impl Plane {
    /// Serves a world of these objects.
    pub async fn start(place: &Place, at: SocketAddr, objects: &[Value]) -> Result<Self> {
        let world = World::new(Snapshot::empty(Settings::default()));
        let engine = Arc::new(Engine::new(world.snapshot().clone()));
        let proxies = Arc::new(Registry::new());
        let ads = Ads::new(Arc::new(engine.clone()), proxies.clone()).authenticated(Arc::new(Believing));
        let (listener, routes) = (place.listen(at).await?, Routes::new(ads.clone()));
        let serving = tokio::spawn(async move {
            if let Err(e) = serve_on(plaintext(listener), routes, std::future::pending()).await {
                eprintln!("the control plane ended: {e}");
            }
        });
        let plane = Self { world: Mutex::new(world), engine, ads, proxies, serving };
        plane.apply(objects)?;
        Ok(plane)
    }

    /// Puts objects in place.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        let mut changes = Vec::new();
        for object in objects {
            match decode::value(object.clone(), "default") {
                Outcome::Read(read) => changes.extend(read.objects.into_iter().map(Change::Upsert)),
                other => bail!("{object} is not taken: {other:?}"),
            }
        }
        self.change(changes);
        Ok(())
    }

    /// Takes an object away.
    pub fn remove(&self, kind: Kind, namespace: &str, name: &str) {
        self.change(vec![Change::Remove(kind, NsName::new(namespace, name))]);
    }

    fn change(&self, changes: Vec<Change>) {
        let mut world = self.world.lock().expect("no panics");
        let changed = world.apply(changes);
        self.engine.publish(world.snapshot().clone(), changed, Instant::now());
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.ads.close();
        self.serving.abort();
    }
}

/// Takes everybody for who they say: `authorization: IDENTITY`.
struct Believing;

impl Authenticator for Believing {
    fn authenticate<'a>(&'a self, call: Call<'a>) -> Identities<'a> {
        let said = call.headers.get("authorization").and_then(|v| v.to_str().ok()).map(str::to_owned);
        Box::pin(async move {
            said.map(|identity| vec![identity]).context("nothing is said").map_err(|e| e.to_string())
        })
    }
}

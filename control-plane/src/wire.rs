//! Wiring: from flags to a running control plane.

use crate::config::{Config, Discovery, Env};
use crate::sources::file;
use anyhow::{Context, Result};
use axum::{Router, http::StatusCode, routing::get};
use meltemi_server::engine::Engine;
use meltemi_server::{Registry, serve};
use meltemi_world::{Change, Snapshot, World};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;

/// Runs `meltemi discovery`.
///
/// # Errors
/// If an address cannot be listened on or the mesh configuration cannot be read.
pub async fn discovery(flags: Discovery) -> Result<()> {
    let (config, notices) = Config::new(flags, &mut Env::of_process());
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let mut world = World::new(Snapshot::empty(config.settings.clone()));
    let mesh_file = &config.flags.mesh_config;
    let mut changes = Vec::new();
    if let Ok(text) = std::fs::read_to_string(mesh_file) {
        let user: serde_json::Value = serde_saphyr::from_str(&text)?;
        changes.push(Change::Mesh(Arc::new(meltemi_world::mesh::overlay(&user)?)));
    }
    if let Some(dir) = &config.flags.config_dir {
        let (objects, findings) = file::load(dir);
        for finding in findings {
            finding.log();
        }
        changes.extend(objects);
    }
    let set = world.apply(changes);
    let engine = Arc::new(Engine::new(world.snapshot().clone()));
    engine.publish(world.snapshot().clone(), set, Instant::now());
    let http = TcpListener::bind(&config.flags.http_addr).await.context("--httpAddr")?;
    tokio::spawn(async move { axum::serve(http, Router::new().route("/ready", get(|| async { StatusCode::OK }))).await });
    let grpc = TcpListener::bind(&config.flags.grpc_addr).await.context("--grpcAddr")?;
    serve(grpc, Arc::new(engine), Arc::new(Registry::default()), std::future::pending()).await?;
    Ok(())
}

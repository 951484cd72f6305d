//! Real requests through stock Envoys that Meltemi configures from files.

mod answers;
mod balancing;
mod changes;
mod egress;
mod faults;
mod gateway;
mod resilience;
mod routing;
mod stage;
mod tcp;

use anyhow::Result;
use meltemi_tests::shop::alone;
use stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_routes_answers_and_protects_as_virtual_services_and_destination_rules_say() -> Result<()> {
    let _turn = alone().await;
    let scenarios = [
        routing::scenarios(),
        answers::scenarios(),
        faults::scenarios(),
        tcp::scenarios(),
        resilience::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect();
    Stage::play(&stage::two_versions(), scenarios).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_chooses_endpoints_by_hash_and_place() -> Result<()> {
    let _turn = alone().await;
    Stage::play(&balancing::servers(), balancing::scenarios()).await
}

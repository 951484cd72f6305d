use super::check;
use serde_json::json;

#[test]
fn workload_entries() {
    check(
        "WorkloadEntry",
        [
            (json!({"address": "10.0.0.1", "ports": {"http": 80}, "labels": {"app": "a"}}), &[][..], &[][..]),
            (json!({"address": "2001:1::1"}), &[], &[]),
            (json!({"address": "a.example.com"}), &[], &[]),
            (json!({"address": "unix:///a"}), &[], &[]),
            (json!({"address": "unix://a"}), &["address"], &[]),
            (json!({"address": "unix:///a", "ports": {"http": 80}}), &["ports"], &[]),
            (json!({"address": "10.0.0.1", "ports": {"h_p": 0}}), &["ports[h_p]"], &[]),
            (json!({"address": "*.example.com"}), &["address"], &[]),
            (json!({"address": "a_b"}), &["address"], &[]),
            (json!({"network": "n"}), &[], &["address"]),
            (json!({"address": "10.0.0.1", "labels": {"-": "a"}}), &["labels[-]"], &[]),
        ],
    );
}

#[test]
fn workload_groups() {
    let probe = |probe| json!({"template": {}, "probe": probe});
    check(
        "WorkloadGroup",
        [
            (json!({"template": {}}), &[][..], &[][..]),
            (json!({"template": {}, "metadata": {"labels": {".": "a"}}}), &["metadata.labels[.]"], &[]),
            (
                probe(json!({"httpGet": {"port": 80, "scheme": "HTTPS", "httpHeaders": [{"name": "a-B"}]}})),
                &[],
                &[],
            ),
            (probe(json!({})), &["probe"], &[]),
            (probe(json!({"httpGet": {"path": "/"}})), &["probe.httpGet.port"], &[]),
            (probe(json!({"httpGet": {"port": 80, "scheme": "http"}})), &["probe.httpGet.scheme"], &[]),
            (
                probe(json!({"httpGet": {"port": 80, "httpHeaders": [{"name": "a_b"}]}})),
                &["probe.httpGet.httpHeaders[0].name"],
                &[],
            ),
            (probe(json!({"tcpSocket": {"port": 70000}})), &["probe.tcpSocket.port"], &[]),
            (probe(json!({"exec": {}})), &["probe.exec.command"], &[]),
            (
                probe(json!({"exec": {"command": ["a"]}, "timeoutSeconds": -1})),
                &["probe.timeoutSeconds"],
                &[],
            ),
            (probe(json!({"grpc": {"port": 80}})), &["probe.grpc"], &[]),
        ],
    );
}

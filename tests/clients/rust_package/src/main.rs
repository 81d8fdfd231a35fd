//! The official Rust SDK, in each of its lives: list, call, and be told why.

use rmcp::model::{CallToolRequestParams, CallToolResult, ProtocolVersion};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientLifecycleMode, ClientServiceExt, Peer, RoleClient};
use serde_json::json;

type Trouble = Box<dyn std::error::Error>;

async fn call(peer: &Peer<RoleClient>, tool: &'static str, payment: &str, amount: f64) -> Result<CallToolResult, Trouble> {
    let arguments = json!({"payment_id": payment, "payee": "ACME", "amount": amount});
    let params = CallToolRequestParams::new(tool).with_arguments(arguments.as_object().cloned().unwrap_or_default());
    Ok(peer.call_tool(params).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Trouble> {
    let given: Vec<String> = std::env::args().collect();
    let modern = vec![ProtocolVersion::V_2026_07_28];
    let lives = [
        ("c_rust_legacy", ClientLifecycleMode::Initialize),
        ("c_rust_modern", ClientLifecycleMode::Discover { preferred_versions: modern }),
    ];
    for (payment, life) in lives {
        let mut config = StreamableHttpClientTransportConfig::with_uri(given[1].as_str());
        config.auth_header = Some(given[2].clone());
        let client = ().serve_with_lifecycle(StreamableHttpClientTransport::from_config(config), life).await?;
        let names: Vec<String> = client.list_all_tools().await?.iter().map(|tool| tool.name.to_string()).collect();
        assert!(names.iter().any(|name| name == "fraud_check"), "{names:?}");
        let checked = call(client.peer(), "fraud_check", payment, 12.5).await?;
        assert_eq!(checked.structured_content.as_ref().map(|found| &found["result"]), Some(&json!("passed")));
        let refused = call(client.peer(), "payments_pay", payment, 13.5).await?;
        assert!(refused.is_error == Some(true) && format!("{refused:?}").contains("Call this first"), "{refused:?}");
        client.cancel().await?;
        println!("{payment}: ok");
    }
    Ok(())
}

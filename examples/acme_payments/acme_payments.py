from gateway.connector import Connector, ConnectorConfig, Effect, Secret, ToolCall, tool


class PaymentsConfig(ConnectorConfig):
    base_url: str
    api_key: Secret  # "${env:PAYMENTS_KEY}"; never printed, never reaches the agent


class Payments(Connector[PaymentsConfig]):
    """Moves money through the payments API."""

    name = "acme_payments"

    @tool(effect=Effect.IRREVERSIBLE, idempotent=True)
    async def pay(self, call: ToolCall, payment_id: str, amount: int) -> dict[str, str]:
        """Pay one payment. Amount in cents."""
        reply = await self.http.post(
            "/payments",
            json={"id": payment_id, "amount": amount},
            headers={
                "Idempotency-Key": call.idempotency_key or "",
                "Authorization": f"Bearer {self.config.api_key.reveal()}",
            },
        )
        return {"receipt": str(reply.json()["receipt"])}  # a failure was raised, as what its status means

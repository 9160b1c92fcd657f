"""The tools, prompts and resources that the official conformance suite calls by name, mounted on a brand's own server.

Written from the suite's descriptions of its scenarios (``@modelcontextprotocol/conformance``, 0.2.0-alpha.12). They exist in
tests only; what stands before them (door, guard, error echo, list from memory) is what every brand's tools stand behind.
"""

import base64
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolResult,
    ClientCapabilities,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel, Field

Ctx = Context[Any, Any]
PNG = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==")
).decode()
WAV = base64.b64encode(b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0").decode()
Rounds = CallToolResult | InputRequiredResult


def text(content: str) -> TextContent:
    """A text block."""
    return TextContent(type="text", text=content)


def answer(content: str) -> CallToolResult:
    """A result of one text."""
    return CallToolResult(content=[text(content)])


def image() -> ImageContent:
    """One pixel."""
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str, mime_type: str, content: str) -> EmbeddedResource:
    """A resource in a message."""
    held = TextResourceContents(uri=uri, mime_type=mime_type, text=content)
    return EmbeddedResource(type="resource", resource=held)


def form(message: str, **properties: dict[str, Any]) -> ElicitRequest:
    """A question to the user."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sampled(prompt: str, tokens: int = 100) -> CreateMessageRequest:
    """A question to the client's model."""
    message = SamplingMessage(role="user", content=text(prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=tokens))


def said(ctx: Ctx, name: str, field: str) -> str | None:
    """What the user filled into a form, if it was that form and that field."""
    given = (ctx.input_responses or {}).get(name)
    content = given.content if isinstance(given, ElicitResult) else None
    value = content.get(field) if content else None
    return value if isinstance(value, str) else None


def mount(server: MCPServer[Any]) -> None:
    """Adds everything that the suite calls."""
    _add_plain_tools(server)
    _add_talking_tools(server)
    _add_rounds(server)
    _add_more_rounds(server)
    _add_back_channel_tools(server)
    _add_resources(server)
    _add_prompts(server)


def _add_plain_tools(server: MCPServer[Any]) -> None:
    @server.tool(structured_output=False)
    async def test_simple_text() -> str:
        """A text."""
        return "This is a simple text response for testing."

    @server.tool(structured_output=False)
    async def test_image_content() -> ImageContent:
        """An image."""
        return image()

    @server.tool(structured_output=False)
    async def test_audio_content() -> AudioContent:
        """A sound."""
        return AudioContent(type="audio", data=WAV, mime_type="audio/wav")

    @server.tool(structured_output=False)
    async def test_embedded_resource() -> EmbeddedResource:
        """A resource."""
        return embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")

    @server.tool(structured_output=False)
    async def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
        """One of each."""
        held = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
        return [text("Multiple content types test:"), image(), held]

    @server.tool(structured_output=False)
    async def test_error_handling() -> str:
        """Fails."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool(structured_output=False)
    async def test_x_mcp_header(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "",
    ) -> str:
        """An argument that a header repeats."""
        return f"region={region}"

    @server.tool(structured_output=False)
    async def test_missing_capability(ctx: Ctx) -> str:
        """Needs a client that samples."""
        declared = ctx.client_capabilities
        if declared is None or declared.sampling is None:
            needed: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "This needs sampling.", needed)
        return "sampling is there"


def _add_talking_tools(server: MCPServer[Any]) -> None:
    @server.tool(structured_output=False)
    async def test_tool_with_progress(ctx: Ctx) -> str:
        """Tells how far it is."""
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100)
        return "done"

    @server.tool(structured_output=False)
    async def test_tool_with_logging(ctx: Ctx) -> str:
        """Tells what it does."""
        for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.session.send_log_message("info", message, related_request_id=ctx.request_id)
        return "done"

    @server.tool(structured_output=False)
    async def test_logging_tool(ctx: Ctx) -> str:
        """Tells what it does, to who wants to hear it."""
        await ctx.session.send_log_message("info", "working", related_request_id=ctx.request_id)
        return "done"

    @server.tool(structured_output=False)
    async def test_streaming_elicitation(ctx: Ctx) -> Rounds:
        """Tells how far it is, then asks."""
        await ctx.report_progress(1, 2)
        return _once(ctx, "name", "What is your name?")


def _once(ctx: Ctx, name: str, message: str) -> Rounds:
    """Asks until the answer is there."""
    value = said(ctx, name, "name")
    if value is None:
        return InputRequiredResult(input_requests={name: form(message, name={"type": "string"})})
    return answer(f"Hello, {value}!")


def _add_rounds(server: MCPServer[Any]) -> None:
    @server.tool(structured_output=False)
    async def test_input_required_result_elicitation(ctx: Ctx) -> Rounds:
        """Asks for a name."""
        return _once(ctx, "user_name", "What is your name?")

    @server.tool(structured_output=False)
    async def test_input_required_result_sampling(ctx: Ctx) -> Rounds:
        """Asks the client's model."""
        given = (ctx.input_responses or {}).get("capital_question")
        if given is None:
            asked = sampled("What is the capital of France?")
            return InputRequiredResult(input_requests={"capital_question": asked})
        return answer(str(given))

    @server.tool(structured_output=False)
    async def test_input_required_result_list_roots(ctx: Ctx) -> Rounds:
        """Asks for the client's roots."""
        given = (ctx.input_responses or {}).get("client_roots")
        if given is None:
            return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})
        return answer(str(given))

    @server.tool(structured_output=False)
    async def test_input_required_result_capabilities(ctx: Ctx) -> Rounds:
        """Asks for what the client can give, and only for that."""
        declared = ctx.client_capabilities or ClientCapabilities()
        asked: dict[str, Any] = {}
        if declared.sampling is not None:
            asked["greeting"] = sampled("Generate a greeting")
        if declared.elicitation is not None:
            asked["user_name"] = form("What is your name?", name={"type": "string"})
        if asked and not ctx.input_responses:
            return InputRequiredResult(input_requests=asked)
        return answer("done")


def _add_more_rounds(server: MCPServer[Any]) -> None:
    @server.tool(structured_output=False)
    async def test_input_required_result_request_state(ctx: Ctx) -> Rounds:
        """Carries a state through the client."""
        return _confirmed(ctx)

    @server.tool(structured_output=False)
    async def test_input_required_result_tampered_state(ctx: Ctx) -> Rounds:
        """As above; the suite changes the state."""
        return _confirmed(ctx)

    @server.tool(structured_output=False)
    async def test_input_required_result_multiple_inputs(ctx: Ctx) -> Rounds:
        """Asks for three things at once."""
        asked: dict[str, Any] = {
            "user_name": form("What is your name?", name={"type": "string"}),
            "greeting": sampled("Generate a greeting", 50),
            "client_roots": ListRootsRequest(),
        }
        if not asked.keys() <= (ctx.input_responses or {}).keys():
            return InputRequiredResult(input_requests=asked, request_state="three")
        return answer(f"Hello, {said(ctx, 'user_name', 'name')}!")

    @server.tool(structured_output=False)
    async def test_input_required_result_multi_round(ctx: Ctx) -> Rounds:
        """Asks for one thing after the other."""
        if ctx.request_state is None:
            first = form("Step 1: What is your name?", name={"type": "string"})
            return InputRequiredResult(input_requests={"step1": first}, request_state="1")
        if ctx.request_state == "1":
            second = form("Step 2: What is your favorite color?", color={"type": "string"})
            return InputRequiredResult(input_requests={"step2": second}, request_state="2")
        return answer(f"Your color is {said(ctx, 'step2', 'color')}.")


def _confirmed(ctx: Ctx) -> Rounds:
    if ctx.request_state is None or "confirm" not in (ctx.input_responses or {}):
        asked = form("Please confirm", ok={"type": "boolean"})
        return InputRequiredResult(input_requests={"confirm": asked}, request_state="waiting")
    return answer(f"state-ok: {ctx.request_state}")


class _Person(BaseModel):
    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


class _Defaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Literal["active", "inactive", "pending"] = "active"
    verified: bool = True


class _Choice(BaseModel):
    untitled: Literal["option1", "option2", "option3"]


def _add_back_channel_tools(server: MCPServer[Any]) -> None:
    """Requests from server to client in the middle of a call, as 2025-11-25 has them: nothing of ours makes any."""

    @server.tool(structured_output=False)
    async def test_sampling(ctx: Ctx, prompt: str) -> str:
        """Asks the client's model."""
        message = SamplingMessage(role="user", content=text(prompt))
        return str(await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id))

    @server.tool(structured_output=False)
    async def test_elicitation(ctx: Ctx, message: str) -> str:
        """Asks the user."""
        return str(await ctx.elicit(message, _Person))

    @server.tool(structured_output=False)
    async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
        """Asks the user, with defaults."""
        return str(await ctx.elicit("Check these", _Defaults))

    @server.tool(structured_output=False)
    async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
        """Asks the user to choose."""
        return str(await ctx.elicit("Choose", _Choice))


def _add_resources(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", description="A text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", description="A pixel", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @server.resource("test://watched-resource", description="Something to watch", mime_type="text/plain")
    def watched() -> str:
        return "watched"

    @server.resource("test://template/{id}/data", description="By id", mime_type="application/json")
    def by_id(id: str) -> str:  # noqa: A002  # the suite's name
        return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'

    async def subscribed(_: Any, __: Any) -> EmptyResult:
        return EmptyResult()

    low = server._lowlevel_server
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribed)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, subscribed)
    low.add_request_handler("logging/setLevel", SetLevelRequestParams, subscribed)

    async def complete(_: Any, __: Any) -> CompleteResult:
        return CompleteResult(completion=Completion(values=["paris", "park", "party"], total=3, has_more=False))

    low.add_request_handler("completion/complete", CompleteRequestParams, complete)


def _add_prompts(server: MCPServer[Any]) -> None:
    @server.prompt(description="A prompt")
    def test_simple_prompt() -> str:
        return "This is a simple prompt for testing."

    @server.prompt(description="A prompt with arguments")
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt(description="A prompt with a resource")
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:  # noqa: N803  # the suite's name
        held = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [held, text("Please process the embedded resource above.")]

    @server.prompt(description="A prompt with an image")
    def test_prompt_with_image() -> list[Any]:
        return [image(), text("Please analyze the image above.")]

    @server.prompt(description="A prompt that asks first")
    def test_input_required_result_prompt(ctx: Ctx) -> Any:
        context = said(ctx, "user_context", "context")
        if context is None:
            asked = form("What context should the prompt use?", context={"type": "string"})
            return InputRequiredResult(input_requests={"user_context": asked})
        return f"The context is {context}."

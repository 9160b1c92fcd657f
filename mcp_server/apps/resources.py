"""The views as resources of a brand's server, and which tool is shown in which.

What holds:
 1. A view is the same for all who ask: it holds nothing of a shopper's, and may be kept as long as the list of tools.
 2. A page may call the tools that it has buttons for, and no other: of the rest the host is told that they are the model's.
 3. Tools stay what they are without a view: their text says everything.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import Resource
from pydantic import PrivateAttr

from commerce_api.brands import Brand
from commerce_api.theme import Theme
from mcp_server.apps.pages import CATALOGUE, CHECKOUT, ORDER, VIEWS, View, page
from mcp_server.profiles import Profile

SHOWN_IN: Final = {
    "search_catalog": CATALOGUE,
    "get_product": CATALOGUE,
    "ask_brand": CATALOGUE,
    "create_checkout": CHECKOUT,
    "update_checkout": CHECKOUT,
    "get_checkout": CHECKOUT,
    "complete_checkout": CHECKOUT,
    "cancel_checkout": CHECKOUT,
    "get_order": ORDER,
}
CALLED_BY_PAGES: Final = frozenset(
    {
        "search_catalog",
        "create_checkout",
        "update_checkout",
        "get_checkout",
        "complete_checkout",
        "get_order",
        "get_saved_payment_methods",
    }
)

SHEET_HANDLE: Final = "checkout_session_id"

Look = Callable[[], Awaitable[Brand]]


class ViewResource(Resource):
    """A view, made for the brand as it is now: a policy may change while the server runs."""

    _view: View = PrivateAttr()
    _look: Look = PrivateAttr()
    _profile: Profile = PrivateAttr()

    @classmethod
    def of(cls, view: View, brand: Brand, profile: Profile, look: Look) -> "ViewResource":
        """The resource. ``look`` gives the brand as it is when it is called."""
        made = cls(
            uri=view.uri,
            name=view.name,
            title=view.title,
            description=view.about,
            mime_type=APP_MIME_TYPE,
            meta=resource_meta(theme_of(brand)),
        )
        made._view, made._look, made._profile = view, look, profile
        return made

    async def read(self) -> str:
        """The document. Raises CommerceRefusal for a brand that is gone."""
        brand = await self._look()
        theme = theme_of(brand)
        self.meta = resource_meta(theme)
        handle = SHEET_HANDLE if self._profile.has_sheet else "checkout_id"
        return page(self._view, brand.name, theme, handle)


def views_of(brand: Brand, profile: Profile, look: Look) -> Apps:
    """The SDK's extension with a brand's views, as they are at one of its endpoints."""
    apps = Apps()
    for view in VIEWS:
        apps.add_resource(ViewResource.of(view, brand, profile, look))
    return apps


def tool_meta(tool: str, profile: Profile) -> dict[str, Any]:
    """What a tool's ``_meta`` says of views: the extension's own names, and those that ChatGPT asks for beside them."""
    by_page, view = tool in CALLED_BY_PAGES, SHOWN_IN.get(tool)
    if tool == "complete_checkout" and profile.has_sheet:
        view = None  # what it gives is for the sheet
    shown = {"resourceUri": view.uri} if view else {}
    meta: dict[str, Any] = {"ui": {**shown, "visibility": ["model", "app"] if by_page else ["model"]}}  # (2)
    if view:
        meta["openai/outputTemplate"] = view.uri
    if by_page:
        meta["openai/widgetAccessible"] = True
    return meta


def resource_meta(theme: Theme) -> dict[str, Any]:
    """What the host is to allow the document: images of the brand's hosts, and nothing else."""
    images = [f"https://{host}" for host in theme.image_hosts]
    csp = {"connectDomains": [], "resourceDomains": images, "frameDomains": [], "baseUriDomains": []}
    return {"ui": {"csp": csp, "prefersBorder": True}}


def theme_of(brand: Brand) -> Theme:
    """The brand's look, the house's own where its policy says nothing."""
    return brand.policy.theme or Theme()

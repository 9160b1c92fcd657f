// What a web host does with a view: a frame without an origin, and the official bridge between it and the conversation.
// A frame that fits what is in it moves under the pointer: tests that press buttons leave it as high as it is.
// Names of the page that Playwright gives: cordonCall, cordonOpen, cordonSaid, cordonRemembered.
import { AppBridge, PostMessageTransport } from "__APP_BRIDGE__";

window.show = async ({ address, capabilities, context, input, result, fits }) => {
  window.frames[0] && document.querySelector("iframe").remove();
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = "Shown by a tool";
  frame.style.width = "100%";
  document.body.append(frame);
  const bridge = new AppBridge(null, { name: "test-host", version: "1.0.0" }, capabilities, { hostContext: context });
  window.bridge = bridge;
  window.heights = [];
  bridge.oncalltool = (params) => window.cordonCall(params);
  bridge.onopenlink = (params) => window.cordonOpen(params);
  bridge.onmessage = (params) => window.cordonSaid(params);
  bridge.onupdatemodelcontext = (params) => window.cordonRemembered(params);
  bridge.onsizechange = ({ height }) => {
    window.heights.push(height);
    if (fits) {
      frame.style.height = `${height}px`;
    }
  };
  const ready = new Promise((resolve) => {
    bridge.oninitialized = resolve;
  });
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.src = address;
  await ready;
  await bridge.sendToolInput({ arguments: input });
  if (result) {
    await bridge.sendToolResult(result);
  }
};

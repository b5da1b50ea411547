using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (services = [(name = "main", worker = .guest)]);

const guest :Workerd.Worker = (
  compatibilityDate = "2026-01-01",
  modules = [
    (name = "workerd.mjs", esModule = embed "workerd.mjs"),
    (name = "wasm.mjs", esModule = embed "../dist/wasm.mjs"),
    (name = "atalho.wasm", wasm = embed "../../dist/embed/atalho.wasm"),
  ],
);

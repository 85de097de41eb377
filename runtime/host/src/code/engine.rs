//! The one wasmtime engine of a process, and compiling for it ahead of time.
//!
//! [`config`] alone decides what affects machine code. So a plug-in that a build script compiles fits the engine that
//! runs it later. It refuses to know anything about plug-ins.

use wasmtime::component::Component;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Stack of one guest call. It stops a guest that recurses without end.
const GUEST_STACK: usize = 512 << 10;
/// Stack of the fibre that a guest call runs on: the guest's stack, and as much again for what the host does beneath
/// it.
const FIBRE_STACK: usize = 2 * GUEST_STACK;
/// Instances that can exist at the same time. Each takes 4 GiB of address space (not memory), and 500 take 2 TiB of the
/// 128 TiB of a process. A smaller reservation costs a bounds check at every access.
const INSTANCES: u32 = 500;
/// The highest memory limit of any plug-in. JavaScript guests start at about 20 MiB.
pub(crate) const MEMORY_CEILING: usize = 256 << 20;
/// Elements of one table. JavaScript and Python guests need more than 7 689.
pub(crate) const TABLE_CEILING: usize = 20_000;

/// Why wasmtime does not start, or does not compile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// wasmtime itself cannot be set up.
    #[error("the WebAssembly engine cannot start")]
    Start(#[source] wasmtime::Error),
    /// The bytes are no component that can be compiled.
    #[error("the component cannot be compiled")]
    Compile(#[source] wasmtime::Error),
}

/// The settings that compiling and running share.
///
/// Epochs are on: they stop guests. Results are the same on every machine (canonical NaNs, one meaning of relaxed
/// SIMD), so that a recorded decision can be replayed bit for bit.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // It makes a call three to four times slower, and the contract does not use it.
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(FIBRE_STACK);
    config
}

/// Compiles a component for engines made of [`config`], on any processor of this architecture.
///
/// # Errors
/// When the bytes are no component, or use what is not supported.
pub fn precompile(component: &[u8]) -> Result<Vec<u8>, EngineError> {
    let mut config = config();
    if cfg!(target_os = "linux") {
        // A named target means the baseline of the architecture. Without a name, the code would use what the building
        // machine's processor has, and would not load on a lesser one.
        config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH)).map_err(EngineError::Start)?;
    }
    let engine = Engine::new(&config).map_err(EngineError::Start)?;
    engine.precompile_component(component).map_err(EngineError::Compile)
}

/// Compiles a component for this engine, on this thread.
pub(crate) fn compile(engine: &Engine, component: &[u8]) -> Result<Component, EngineError> {
    Component::from_binary(engine, component).map_err(EngineError::Compile)
}

/// The engine that runs plug-ins. Its instances come from a pool, or are made on demand where the address space is
/// limited (`ulimit -v`).
pub(crate) fn start() -> Result<Engine, EngineError> {
    let mut pooled = config();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    Engine::new(&pooled).or_else(|error| {
        tracing::info!(%error, "no room for a pool of instances; they are made on demand");
        Engine::new(&config()).map_err(EngineError::Start)
    })
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_memories(INSTANCES)
        .total_component_instances(INSTANCES)
        // A component consists of some core modules: the guest, its adapters and its shims.
        .total_core_instances(8 * INSTANCES)
        .total_tables(2 * INSTANCES)
        .total_stacks(INSTANCES)
        .table_elements(TABLE_CEILING)
        .max_memory_size(MEMORY_CEILING)
        // A free slot keeps only this much resident, and few slots stay warm, so that an idle heald is small.
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(16 << 10)
        .max_unused_warm_slots(4);
    pool
}

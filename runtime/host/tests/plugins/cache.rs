//! What was compiled is kept for its owner alone: recalled when it is what it should be, made anew when it is not.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use heald_engine::ports::Detector as _;
use heald_host::{
    Compiler, FileError, Host, HostError, Options, Plugin, PluginConfig, SecretKey, Trust, compile_file, digest,
};
use serde_json::json;
use tempfile::TempDir;

use crate::guests::{component, object, observation, table};
use crate::surgery::grown;

/// A place for a cache and for components.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn options(&self) -> Options {
        Options { cache: Some(self.path("cache")), ..Options::default() }
    }

    fn host(&self) -> Host {
        Host::with(self.options()).unwrap()
    }

    /// The names of all files in the cache.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path("cache"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    /// The one file that is kept of a component.
    fn kept(&self, component: &[u8]) -> PathBuf {
        let files = self.files();
        let mut of = files.iter().filter(|name| name.starts_with(&digest(component)));
        let name = of.next().unwrap_or_else(|| panic!("nothing is kept of it: {files:?}"));
        assert!(of.next().is_none(), "{files:?}");
        self.path("cache").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PluginConfig {
        let mut table = table("good");
        table.component = self.path(name).display().to_string();
        fs::write(&table.component, bytes).unwrap();
        table
    }
}

fn good() -> &'static [u8] {
    component("detector-good")
}

fn works(plugin: &Plugin) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let detector = runtime.block_on(plugin.detector(&object(json!({})))).unwrap();
    assert_eq!(runtime.block_on(detector.evaluate(&observation("web", 97.0))).unwrap().findings.len(), 1);
}

/// Which file it is. The number alone does not tell: a file system may give that of a file that is gone to the next one.
fn identity(path: &Path) -> (u64, Option<std::time::SystemTime>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.ino(), metadata.created().ok())
}

#[test]
fn what_was_compiled_once_is_recalled_by_the_next_heald() {
    let place = Place::new();
    works(&place.host().load_bytes(&table("good"), good()).unwrap());
    let kept = place.kept(good());
    assert_eq!(place.path("cache").metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let before = identity(&kept);
    works(&place.host().load_bytes(&table("good"), good()).unwrap());
    assert_eq!(identity(&kept), before, "compiling it again would have replaced the file");
    // A signature is no other component.
    let signed = heald_host::sign(good(), &SecretKey::generate().unwrap()).unwrap();
    works(&place.host().load_bytes(&table("good"), &signed).unwrap());
    assert_eq!((identity(&kept), place.files().len()), (before, 1));
}

#[test]
fn a_kept_file_that_is_not_as_it_should_be_is_made_anew() {
    let place = Place::new();
    let host = place.host();
    host.load_bytes(&table("good"), good()).unwrap();
    let other = component("detect-threshold");
    host.load_bytes(&table("other"), other).unwrap();
    let (kept, others) = (place.kept(good()), fs::read(place.kept(other)).unwrap());
    let whole = fs::read(&kept).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let write = |bytes: &[u8]| fs::write(&kept, bytes).unwrap();
    let elsewhere = place.path("elsewhere");
    let sins: [(&str, &dyn Fn()); 11] = [
        ("a bit of the header is flipped", &|| write(&flipped(20))),
        ("a bit of the code is flipped", &|| write(&flipped(whole.len() / 2))),
        ("the last bit is flipped", &|| write(&flipped(whole.len() - 1))),
        ("it is cut short", &|| write(&whole[..whole.len() - 1])),
        ("it is empty", &|| write(b"")),
        ("it goes on", &|| write(&[whole.as_slice(), b"more"].concat())),
        ("it is another component's", &|| write(&others)),
        ("it is bare machine code", &|| write(&heald_host::precompile(good()).unwrap())),
        ("others may read it", &|| fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap()),
        ("it has a second name", &|| fs::hard_link(&kept, &elsewhere).unwrap()),
        ("it is a link to a good one", &|| {
            fs::remove_file(&elsewhere).unwrap();
            fs::rename(&kept, &elsewhere).unwrap();
            symlink(&elsewhere, &kept).unwrap();
        }),
    ];
    for (sin, commit) in sins {
        commit();
        let spoilt = identity(&kept);
        works(&host.load_bytes(&table("good"), good()).unwrap());
        let made = fs::symlink_metadata(&kept).unwrap();
        assert!(made.is_file() && made.permissions().mode() & 0o7777 == 0o600 && made.nlink() == 1, "{sin}");
        assert_ne!(identity(&kept), spoilt, "{sin}");
        assert!(fs::read(&kept).unwrap() == whole, "{sin}: what is kept is not what was compiled");
    }
}

#[test]
fn a_directory_that_others_could_fill_is_not_used_and_loading_goes_on() {
    let place = Place::new();
    let cache = place.path("cache");
    fs::DirBuilder::new().mode(0o700).create(&cache).unwrap();
    for mode in [0o720, 0o702, 0o777] {
        fs::set_permissions(&cache, fs::Permissions::from_mode(mode)).unwrap();
        works(&place.host().load_bytes(&table("good"), good()).unwrap());
        assert!(place.files().is_empty(), "mode {mode:o}");
        assert_eq!(cache.metadata().unwrap().permissions().mode() & 0o777, mode, "it is not ours to mend");
    }
    // A link may lead anywhere.
    fs::rename(&cache, place.path("real")).unwrap();
    fs::set_permissions(place.path("real"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink(place.path("real"), &cache).unwrap();
    works(&place.host().load_bytes(&table("good"), good()).unwrap());
    assert_eq!(fs::read_dir(place.path("real")).unwrap().count(), 0);
    // Who could only read has done no harm.
    fs::remove_file(&cache).unwrap();
    fs::rename(place.path("real"), &cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    works(&place.host().load_bytes(&table("good"), good()).unwrap());
    assert_eq!(place.files().len(), 1);
    assert_eq!(cache.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn being_kept_is_no_way_around_a_signature() {
    let place = Place::new();
    place.host().load_bytes(&table("good"), good()).unwrap();
    let trust = Trust { require_signed: true, keys: vec![SecretKey::generate().unwrap().public()] };
    let strict = Host::with(Options { trust, ..place.options() }).unwrap();
    assert!(matches!(strict.load_bytes(&table("good"), good()), Err(HostError::Signature { .. })));
}

#[tokio::test]
async fn fetching_is_loading_without_holding_anybody_up() {
    let place = Place::new();
    let table = place.put("good.wasm", good());
    let host = place.host();
    let plugin = host.fetch(&table).await.unwrap();
    assert_eq!(plugin.reference().digest, digest(good()));
    let before = identity(&place.kept(good()));
    host.fetch(&table).await.unwrap();
    assert_eq!(identity(&place.kept(good())), before);
    fs::write(&table.component, &good()[..1_000]).unwrap();
    assert!(matches!(host.fetch(&table).await, Err(HostError::Section(_))));
    fs::remove_file(&table.component).unwrap();
    assert!(matches!(host.fetch(&table).await, Err(HostError::File(FileError::Read { .. }))));
}

/// What this test does when it is started as a compiler; as one of many it has nothing to do.
#[test]
fn compiler() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [.., asked, input, output] = arguments.as_slice()
        && asked == AS_COMPILER
    {
        compile_file(input.as_ref(), output.as_ref()).unwrap();
    }
}

const AS_COMPILER: &str = "cache::compiler";

/// A shell command that is asked to compile `$0` to `$1`.
fn shell(command: &str) -> Compiler {
    Compiler { program: "/bin/sh".into(), arguments: vec!["-c".into(), command.into()] }
}

/// This very program as a compiler, and where it notes the file that it made.
fn noting(note: &Path) -> Compiler {
    let me = std::env::current_exe().unwrap();
    let (me, note) = (me.display(), note.display());
    shell(&format!(
        "'{me}' --quiet --nocapture --exact {AS_COMPILER} \"$0\" \"$1\" >/dev/null && /usr/bin/stat -c %i \"$1\" >>'{note}' && \
         /usr/bin/env >>'{note}.env'"
    ))
}

fn large() -> Vec<u8> {
    grown(good(), 1 << 20)
}

#[tokio::test]
async fn a_large_component_is_compiled_by_another_process_into_the_cache() {
    let place = Place::new();
    let (note, bytes) = (place.path("note"), large());
    let host = Host::with(Options { compiler: Some(noting(&note)), ..place.options() }).unwrap();
    let table = place.put("large.wasm", &bytes);
    let plugins = tokio::join!(host.fetch(&table), host.fetch(&table));
    let (one, two) = (plugins.0.unwrap(), plugins.1.unwrap());
    assert_eq!((one.reference().digest.clone(), two.reference().digest.clone()), (digest(&bytes), digest(&bytes)));
    assert_eq!(
        one.detector(&object(json!({})))
            .await
            .unwrap()
            .evaluate(&observation("web", 97.0))
            .await
            .unwrap()
            .findings
            .len(),
        1
    );
    let noted = fs::read_to_string(&note).unwrap();
    assert_eq!(
        noted.trim(),
        identity(&place.kept(&bytes)).0.to_string(),
        "made once, and what it made is what is kept"
    );
    assert_eq!(place.files().len(), 1, "nothing else is left there: {:?}", place.files());
    let environment = fs::read_to_string(place.path("note.env")).unwrap();
    assert!(!environment.contains("CARGO") && !environment.contains("HOME="), "{environment}");
    // A small one is not worth a process.
    host.fetch(&place.put("good.wasm", good())).await.unwrap();
    assert_eq!(fs::read_to_string(&note).unwrap(), noted);
}

#[tokio::test]
async fn a_compiler_that_fails_is_quoted_and_one_that_lies_is_not_believed() {
    let place = Place::new();
    let bytes = large();
    let table = place.put("large.wasm", &bytes);
    let with = |compiler| Host::with(Options { compiler: Some(compiler), ..place.options() }).unwrap();
    let error = with(shell("echo 'no room for \"it\"' >&2; exit 3")).fetch(&table).await.err().unwrap().to_string();
    assert!(error.contains("no room for \"it\"") && error.contains("exit status: 3"), "{error}");
    let error = with(shell("exit 0")).fetch(&table).await.err().unwrap().to_string();
    assert!(error.contains("left nothing behind"), "{error}");
    assert!(place.files().is_empty());
    // What it leaves has to be what it should be, or it is compiled here.
    let plugin = with(shell("umask 077; echo garbage >\"$1\"")).fetch(&table).await.unwrap();
    assert_eq!(plugin.reference().digest, digest(&bytes));
    assert!(fs::read(place.kept(&bytes)).unwrap().starts_with(b"heald compiled"));
    fs::remove_file(place.kept(&bytes)).unwrap();
    let missing = Compiler { program: place.path("missing"), arguments: Vec::new() };
    with(missing).fetch(&table).await.unwrap();
    // Without a cache there is no place for its work.
    let compiler = Some(shell("exit 3"));
    Host::with(Options { compiler, ..Options::default() }).unwrap().fetch(&table).await.unwrap();
}

#[tokio::test]
async fn what_breaks_the_contract_by_its_names_is_not_compiled_first() {
    let place = Place::new();
    let host = Host::with(Options { compiler: Some(shell("exit 3")), ..place.options() }).unwrap();
    let table = place.put("future.wasm", &grown(component("detector-future"), 1 << 20));
    let error = host.fetch(&table).await.err().unwrap();
    assert!(matches!(error, HostError::Contract { .. }), "{error}");
}

#[tokio::test]
async fn a_compiler_that_nobody_waits_for_is_ended() {
    let place = Place::new();
    let note = place.path("pid");
    let command = format!("echo $$ >'{0}.new'; /bin/mv '{0}.new' '{0}'; exec /bin/sleep 600", note.display());
    let host = Host::with(Options { compiler: Some(shell(&command)), ..place.options() }).unwrap();
    let table = place.put("large.wasm", &large());
    let started = until(|| fs::read_to_string(&note).ok());
    let id = tokio::select! {
        id = started => id,
        done = host.fetch(&table) => panic!("it ended: {:?}", done.err()),
    };
    let state = PathBuf::from(format!("/proc/{}/stat", id.trim()));
    until(|| {
        let gone = fs::read_to_string(&state).map_or(true, |state| state.contains(") Z"));
        gone.then_some(())
    })
    .await;
    assert!(place.files().is_empty(), "what it worked on is gone too: {:?}", place.files());
}

/// Waits for something to be there.
async fn until<T>(look: impl Fn() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "it does not come");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

//! Mounts of real containers by `minidock-runtime supervise`. Needs root and busybox-static; says so otherwise.
mod bundle;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;

use bundle::{Bundle, text};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use serde_json::{Value, json};

impl Bundle {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn make(&self, name: &str) -> String {
        fs::create_dir_all(self.dir.join(name)).unwrap();
        self.path(name)
    }

    /// Runs a script with more mounts and sources.
    fn mounted(&self, script: &str, mounts: &Value, sources: &Value) -> Output {
        let mut config = self.config(script);
        let list = config["mounts"].as_array_mut().unwrap();
        list.extend_from_slice(mounts.as_array().unwrap());
        let mut document = self.document();
        document["sources"] = sources.clone();
        self.run(&config, &document, "").0
    }

    fn fails(&self, mounts: &Value, sources: &Value) -> String {
        let mut config = self.config("true");
        let list = config["mounts"].as_array_mut().unwrap();
        list.extend_from_slice(mounts.as_array().unwrap());
        let mut document = self.document();
        document["sources"] = sources.clone();
        let (output, _, said) = self.run_heard(&config, &document, "");
        assert_eq!(output.status.code(), Some(125), "{said}");
        said
    }
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    let mut all = vec!["rbind"];
    all.extend_from_slice(options);
    json!({"destination": destination, "type": "bind", "source": source, "options": all})
}

#[test]
fn sources_of_binds() {
    let Some(bundle) = Bundle::new("sources") else {
        return;
    };
    let volume = bundle.make("volume");
    bundle.make("volume/a/b");
    fs::write(bundle.dir.join("volume/a/b/text"), "part\n").unwrap();
    symlink("a/b", bundle.dir.join("volume/link")).unwrap();
    let mut lower = Vec::new();
    for (i, name) in ["low", "high"].iter().enumerate() {
        bundle.make(&format!("{name}/usr/share"));
        fs::write(
            bundle.dir.join(format!("{name}/usr/share/which")),
            format!("{name}\n"),
        )
        .unwrap();
        fs::write(bundle.dir.join(format!("{name}/usr/only{i}")), "").unwrap();
        lower.insert(0, bundle.path(name));
    }
    let (upper, work) = (bundle.make("o/upper"), bundle.make("o/work"));
    let mounts = json!([
        bind("/none", "/part", &[]),
        bind("/none", "/file", &["ro"]),
        bind("/none", "/layers", &[]),
        bind("/none", "/layerpart", &["rprivate"]),
        bind("/none", "/over", &[]),
    ]);
    let sources = json!([
        {"destination": "/part/", "kind": "subpath", "root": volume, "path": "link"},
        {"destination": "/file", "kind": "subpath", "root": volume, "path": "a/b/text"},
        {"destination": "/layers", "kind": "layers", "lower": lower},
        {"destination": "/layerpart", "kind": "layers", "lower": lower, "path": "usr/share"},
        {"destination": "/over", "kind": "overlay", "lower": lower, "upper": upper, "work": work, "path": "usr"},
    ]);
    let script = "cd /; for i in file part/text layers/usr/share/which layerpart/which over/share/which; do busybox cat $i; done
        busybox ls layers/usr; for i in part/new file layers/x layerpart/x over/new; do echo 1 2>/dev/null > $i || echo no $i; done";
    let output = bundle.mounted(script, &mounts, &sources);
    assert_eq!(
        text(&output.stdout),
        "part\npart\nhigh\nhigh\nhigh\nonly0\nonly1\nshare\nno file\nno layers/x\nno layerpart/x\n",
        "{}",
        text(&output.stderr)
    );
    assert!(bundle.dir.join("volume/a/b/new").exists());
    assert!(bundle.dir.join("o/upper/usr/new").exists());
    assert!(!bundle.dir.join("high/usr/new").exists());
}

#[test]
fn sources_that_do_not_do() {
    let Some(bundle) = Bundle::new("bad-sources") else {
        return;
    };
    let volume = bundle.make("volume/sub");
    symlink("/etc", bundle.dir.join("volume/sub/absolute")).unwrap();
    symlink("../..", bundle.dir.join("volume/sub/up")).unwrap();
    symlink("sub", bundle.dir.join("volume/link")).unwrap();
    let mounts = json!([bind("/none", "/data", &[])]);
    for (root, path, why) in [
        (
            "volume/sub",
            "absolute",
            "mount /data: path concatenation escapes the base directory",
        ),
        (
            "volume/sub",
            "up",
            "mount /data: path concatenation escapes the base directory",
        ),
        (
            "volume/sub",
            "../..",
            "mount /data: path concatenation escapes the base directory",
        ),
        ("volume/sub", "none", "mount /data: cannot access path"),
        ("volume/link", "", "a symbolic link to one does not do"),
        ("volume/none", "x", "no such file or directory"),
    ] {
        let sources = json!([{"destination": "/data", "kind": "subpath", "root": bundle.path(root), "path": path}]);
        let said = bundle.fails(&mounts, &sources);
        assert!(said.contains(why), "{path}: {said}");
    }
    let elsewhere = json!([{"destination": "/x", "kind": "subpath", "root": volume, "path": "."}]);
    assert!(
        bundle
            .fails(&json!([]), &elsewhere)
            .contains("no bind of the document")
    );
    let on_proc = json!([bind("/none", "/proc", &[])]);
    let sources = json!([{"destination": "/proc", "kind": "subpath", "root": volume, "path": "."}]);
    assert!(bundle.fails(&on_proc, &sources).contains("not a procfs"));
    for (source, target) in [("layer/etc", "/etc/passwd"), ("layer/etc/passwd", "/etc")] {
        let mounts = json!([bind(&bundle.path(source), target, &[])]);
        let said = bundle.fails(&mounts, &json!([]));
        assert!(said.contains("(or vice-versa)"), "{said}");
    }
    let said = bundle.fails(&mounts, &json!([]));
    assert!(
        said.contains("mount /data: bind source path does not exist: /none"),
        "{said}"
    );
}

#[test]
fn binds_of_all_kinds() {
    let Some(bundle) = Bundle::new("binds") else {
        return;
    };
    let dir = bundle.make("dir");
    fs::write(bundle.dir.join("dir/file"), "f\n").unwrap();
    fs::copy("/bin/busybox", bundle.dir.join("dir/sh")).unwrap();
    let _socket = UnixListener::bind(bundle.dir.join("dir/socket")).unwrap();
    // A mount below the source.
    let below = bundle.make("dir/below");
    mount("tmpfs", &below, "tmpfs", MountFlags::empty(), c"").unwrap();
    let _guard = Unmount(&below);
    let mounts = json!([
        bind(&dir, "/rw", &[]),
        bind(&dir, "/ro", &["ro"]),
        bind(&dir, "/rro", &["rro"]),
        bind(&dir, "/noexec", &["noexec", "nosuid", "nodev"]),
        {"destination": "/flat", "type": "bind", "source": dir, "options": ["bind"]},
        bind(&format!("{dir}/file"), "/new/file", &[]),
        bind(&format!("{dir}/socket"), "/new/socket", &[]),
    ]);
    let script = "cd /; busybox cat new/file; busybox test -S new/socket && echo socket
        for i in rw rw/below ro ro/below rro rro/below flat/below; do busybox touch $i/t 2>/dev/null && echo $i; done
        rw/sh -c 'echo ran'; noexec/sh -c 'echo never' 2>/dev/null; busybox grep -o ' /noexec [a-z,]*' /proc/self/mountinfo";
    let output = bundle.mounted(script, &mounts, &json!([]));
    assert_eq!(
        text(&output.stdout),
        "f\nsocket\nrw\nrw/below\nro/below\nflat/below\nran\n /noexec rw,nosuid,nodev,noexec,relatime\n",
        "{}",
        text(&output.stderr)
    );
}

/// Unmounts at the end of the test.
struct Unmount<'a>(&'a str);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn mounts_travel_as_asked() {
    let Some(bundle) = Bundle::new("propagation") else {
        return;
    };
    let shared = bundle.make("shared");
    bundle.make("shared/in");
    mount("tmpfs", &shared, "tmpfs", MountFlags::empty(), c"").unwrap();
    let _guard = Unmount(&shared);
    mount_change(&shared, MountPropagationFlags::SHARED).unwrap();
    for (word, field) in [
        ("rprivate", ""),
        ("rslave", "master:"),
        ("rshared", "shared:"),
    ] {
        let script = "busybox grep ' /data ' /proc/self/mountinfo";
        let output = bundle.mounted(
            script,
            &json!([bind(&shared, "/data", &[word])]),
            &json!([]),
        );
        let line = text(&output.stdout);
        assert_eq!(
            line.contains("master:"),
            field == "master:",
            "{word}: {line}"
        );
        assert_eq!(
            line.contains("shared:"),
            field == "shared:",
            "{word}: {line}"
        );
    }
}

#[test]
fn owners_are_mapped() {
    let Some(bundle) = Bundle::new("idmap") else {
        return;
    };
    let dir = bundle.make("dir");
    let map = json!([{"containerID": 1000, "hostID": 0, "size": 1}]);
    let mut mapped = bind(&dir, "/data", &["idmap"]);
    mapped["uidMappings"] = map.clone();
    mapped["gidMappings"] = map;
    std::os::unix::fs::chown(bundle.dir.join("dir"), Some(1000), Some(1000)).unwrap();
    let script = "busybox touch /data/new && busybox stat -c '%u:%g' /data /data/new";
    let output = bundle.mounted(script, &json!([mapped]), &json!([]));
    assert_eq!(
        text(&output.stdout),
        "0:0\n0:0\n",
        "{}",
        text(&output.stderr)
    );
    let found = fs::metadata(bundle.dir.join("dir/new")).unwrap();
    assert_eq!((found.uid(), found.gid()), (1000, 1000));
    // procfs has no idmapped mounts; the layers of the container below are mapped themselves.
    let mut mapped = bind("/proc/sys", "/data", &["idmap"]);
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    mapped["uidMappings"] = map.clone();
    mapped["gidMappings"] = map;
    let said = bundle.fails(&json!([mapped]), &json!([]));
    assert!(said.contains("does not support idmapped mounts"), "{said}");
    let in_user_namespace = user_namespace(&bundle, &dir);
    assert_eq!(in_user_namespace, "0:0\n0:0\n");
    assert!(Path::new(&dir).join("mapped").metadata().unwrap().uid() == 0);
}

/// In a container with remapped ids, the host's root is the container's.
fn user_namespace(bundle: &Bundle, dir: &str) -> String {
    std::os::unix::fs::chown(dir, Some(0), Some(0)).unwrap();
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let mut mapped = bind(dir, "/data", &["ridmap"]);
    mapped["uidMappings"] = map.clone();
    mapped["gidMappings"] = map.clone();
    let script = "busybox touch /data/mapped && busybox stat -c '%u:%g' /data /data/mapped";
    let mut config = bundle.config(script);
    config["mounts"].as_array_mut().unwrap().push(mapped);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
    let mut document = bundle.document();
    document["rootfs"]["idmap"] =
        json!({"uid": [[0, 100_000, 65536]], "gid": [[0, 100_000, 65536]]});
    let (output, _) = bundle.run(&config, &document, "");
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));
    text(&output.stdout)
}

//! Identities as JSON objects. A daemon's object is a superset of what every generation writes, so each can read it.

use super::daemon_process::DaemonProcess;
use super::digests::{BLAKE3_ALGORITHM, ExeDigest, is_present};
use super::error::IdentityError;
use super::fronted::FrontedProcess;
use super::instance_id;
use super::origin::Origin;
use super::wire::{exact_path, path_bytes};
use crate::broker::protocol::{self, Endpoint};
use serde_core::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_core::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;

impl Serialize for DaemonProcess {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("pid", &self.pid)?;
        object.serialize_entry("exe_path", &self.exe_path.to_string_lossy())?;
        if let Some(sha256) = self.exe_digests.sha256() {
            // Required by the first generation.
            object.serialize_entry("exe_sha256", sha256)?;
            // The name of the second generation.
            object.serialize_entry("legacy_exe_sha256", sha256)?;
        }
        if let Some(blake3) = self.exe_digests.blake3() {
            // Required by the second generation.
            object.serialize_entry("exe_hash_algorithm", BLAKE3_ALGORITHM)?;
            object.serialize_entry("exe_hash", blake3)?;
        }
        object.serialize_entry("boot_id", &self.boot_id)?;
        object.serialize_entry("ipc_endpoint", &self.ipc_endpoint)?;
        object.serialize_entry("started_at_unix_ms", &self.started_at_unix_ms)?;
        object.serialize_entry("idle_timeout_secs", &self.idle_timeout_secs)?;
        // Our own: the path where it is not UTF-8, the origin, version, build and the fronted daemon.
        let exe_path_bytes = path_bytes(&self.exe_path);
        if !exe_path_bytes.is_empty() {
            object.serialize_entry("exe_path_bytes", &exe_path_bytes)?;
        }
        if let Some(origin) = &self.origin {
            origin.serialize_entries(&mut object)?;
        }
        for (name, text) in [("version", self.version()), ("build", self.build())] {
            if let Some(text) = text {
                object.serialize_entry(name, text)?;
            }
        }
        if let Some(fronts) = &self.fronts {
            object.serialize_entry("fronts", fronts)?;
        }
        object.end()
    }
}

impl Serialize for FrontedProcess {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("pid", &self.pid)?;
        object.serialize_entry("kernel_start_time", &self.start_time)?;
        object.serialize_entry("exe_path", &self.exe_path.to_string_lossy())?;
        let exe_path_bytes = path_bytes(&self.exe_path);
        if !exe_path_bytes.is_empty() {
            object.serialize_entry("exe_path_bytes", &exe_path_bytes)?;
        }
        object.serialize_entry("exe_blake3", &self.exe_blake3)?;
        object.end()
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        self.serialize_entries(&mut object)?;
        object.end()
    }
}

impl Origin {
    fn serialize_entries<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        object.serialize_entry("kernel_start_time", &self.start_time)?;
        object.serialize_entry("instance_id", &self.instance_digits())?;
        if let Some(pid_namespace) = self.pid_namespace {
            object.serialize_entry("pid_namespace", &pid_namespace)?;
        }
        object.serialize_entry("inherited_listener", &self.inherited_listener)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(2))?;
        object.serialize_entry("namespace_id", &self.namespace_id)?;
        object.serialize_entry("path", &self.path)?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for DaemonProcess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = DaemonFields::deserialize(deserializer)?;
        let origin = fields.take_origin()?.ok();
        let to_vec = |digest: Option<ExeDigest>| digest.map_or_else(Vec::new, |digest| digest.to_vec());
        let message = protocol::DaemonProcess {
            pid: required("pid", fields.pid)?,
            exe_path: required("exe_path", fields.exe_path)?,
            exe_sha256: to_vec(one_of(fields.exe_sha256, fields.legacy_exe_sha256)),
            ipc_endpoint: Some(required("ipc_endpoint", fields.ipc_endpoint)?),
            started_at_unix_ms: required("started_at_unix_ms", fields.started_at_unix_ms)?,
            boot_id: required("boot_id", fields.boot_id)?,
            idle_timeout_secs: fields.idle_timeout_secs,
            exe_hash_algorithm: fields.exe_hash_algorithm.unwrap_or_default(),
            exe_hash: to_vec(fields.exe_hash),
        };
        let mut daemon = Self::try_from(message).map_err(D::Error::custom)?;
        daemon.exe_path = exact_path(daemon.exe_path, &fields.exe_path_bytes.unwrap_or_default());
        daemon.origin = origin;
        daemon.fronts = fields.fronts.map(Box::new);
        daemon
            .with_version(fields.version.unwrap_or_default())
            .and_then(|daemon| daemon.with_build(fields.build.unwrap_or_default()))
            .map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for FrontedProcess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = FrontedFields::deserialize(deserializer)?;
        let exe_blake3: ExeDigest = required("exe_blake3", fields.exe_blake3)?;
        let message = protocol::FrontedProcess {
            pid: required("pid", fields.pid)?,
            start_time: required("kernel_start_time", fields.kernel_start_time)?,
            exe_path: required("exe_path", fields.exe_path)?,
            exe_path_bytes: fields.exe_path_bytes.unwrap_or_default(),
            exe_blake3: exe_blake3.to_vec(),
        };
        Self::try_from(message).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DaemonFields::deserialize(deserializer)?.take_origin()?.map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = EndpointFields::deserialize(deserializer)?;
        let namespace_id = required("namespace_id", fields.namespace_id)?;
        Ok(Self { namespace_id, path: required("path", fields.path)? })
    }
}

/// Defines a structure of the fields found in an object. A field is `None` if it is absent or null. Unknown fields, as
/// those of a later generation, are ignored.
macro_rules! fields {
    ($object:ident { $($name:ident: $type:ty),* $(,)? }) => {
        #[derive(Default)]
        struct $object {
            $($name: Option<$type>),*
        }

        impl<'de> Deserialize<'de> for $object {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map(Self::default())
            }
        }

        impl<'de> Visitor<'de> for $object {
            type Value = Self;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Self, A::Error> {
                const NAMES: &[&str] = &[$(stringify!($name)),*];
                while let Some(name) = object.next_key_seed(NameOf(NAMES))? {
                    match name {
                        $(Some(name @ stringify!($name)) => {
                            self.$name = object.next_value().map_err(|error| in_field(name, &error))?;
                        })*
                        _ => {
                            object.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(self)
            }
        }
    };
}

/// Reads a name into the one of these that is equal; into `None` if there is none.
struct NameOf(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for NameOf {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for NameOf {
    type Value = Option<&'static str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, found: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().copied().find(|name| *name == found))
    }
}

fields!(DaemonFields {
    pid: u32,
    exe_path: String,
    exe_sha256: ExeDigest,
    legacy_exe_sha256: ExeDigest,
    exe_hash_algorithm: String,
    exe_hash: ExeDigest,
    boot_id: String,
    ipc_endpoint: Endpoint,
    started_at_unix_ms: u64,
    idle_timeout_secs: u32,
    exe_path_bytes: Vec<u8>,
    kernel_start_time: u64,
    instance_id: String,
    pid_namespace: u64,
    inherited_listener: bool,
    version: String,
    build: String,
    fronts: FrontedProcess,
});

fields!(FrontedFields {
    pid: u32,
    kernel_start_time: u64,
    exe_path: String,
    exe_path_bytes: Vec<u8>,
    exe_blake3: ExeDigest,
});

fields!(EndpointFields { namespace_id: String, path: String });

impl DaemonFields {
    /// Returns the origin, or the error of an invalid part of it.
    fn take_origin<E: Error>(&mut self) -> Result<Result<Origin, IdentityError>, E> {
        let digits = self.instance_id.take();
        let instance_id = digits.as_deref().map(instance_id::from_digits).transpose().map_err(E::custom)?;
        let field = if instance_id.is_none() { "instance_id" } else { "kernel_start_time" };
        let inherited_listener = self.inherited_listener.unwrap_or_default();
        let origin =
            Origin::from_known(self.kernel_start_time, instance_id, self.pid_namespace, inherited_listener);
        Ok(origin.ok_or(IdentityError::MissingField { field }))
    }
}

/// Returns the first of two digests that is not all zeros; each generation has a field of its own.
fn one_of(first: Option<ExeDigest>, second: Option<ExeDigest>) -> Option<ExeDigest> {
    first.filter(is_present).or(second).or(first)
}

fn required<T, E: Error>(name: &'static str, field: Option<T>) -> Result<T, E> {
    field.ok_or_else(|| E::missing_field(name))
}

fn in_field<E: Error>(name: &str, error: &E) -> E {
    E::custom(format_args!("field `{name}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_path_are_written_only_if_it_is_not_utf_8() {
        let message = protocol::DaemonProcess {
            pid: 7,
            exe_path: "/bin/d".into(),
            exe_sha256: vec![1; 32],
            ipc_endpoint: Some(Endpoint { namespace_id: "test".into(), path: "/run/d".into() }),
            boot_id: "boot".into(),
            ..Default::default()
        };
        let written = |daemon: &DaemonProcess| serde_json::to_value(daemon).unwrap();
        let daemon = DaemonProcess::try_from(message).unwrap();
        assert_eq!(written(&daemon)["exe_path"], "/bin/d");
        assert_eq!(written(&daemon).get("exe_path_bytes"), None);
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let exe_path = std::ffi::OsStr::from_bytes(b"/bin/\xe9").into();
            let daemon = DaemonProcess { exe_path, ..daemon };
            assert_eq!(written(&daemon)["exe_path_bytes"], serde_json::json!(b"/bin/\xe9"));
        }
    }
}

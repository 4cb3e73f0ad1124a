//! Identities as JSON objects. The one of a daemon is a superset of what every generation writes, so each can read it.

use super::origin::instance_id_of_digits;
use super::wire::{exact_path, path_bytes};
use super::{BLAKE3_ALGORITHM, DaemonProcess, ExeDigest, IdentityError, Origin};
use crate::broker::protocol::{self, Endpoint};
use serde_core::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use serde_core::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

impl Serialize for DaemonProcess {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("pid", &self.pid)?;
        object.serialize_entry("exe_path", &self.exe_path.to_string_lossy())?;
        if let Some(sha256) = self.exe_digests.sha256() {
            // Required by the first generation.
            object.serialize_entry("exe_sha256", sha256)?;
            // What the second generation calls it.
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
        // Our own: the path where it is not UTF-8, and the origin.
        let exe_path_bytes = path_bytes(&self.exe_path);
        if !exe_path_bytes.is_empty() {
            object.serialize_entry("exe_path_bytes", &exe_path_bytes)?;
        }
        if let Some(origin) = &self.origin {
            origin.serialize_entries(&mut object)?;
        }
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
        let mut fields = Fields::deserialize(deserializer)?;
        let first: Option<ExeDigest> = fields.optional("exe_sha256")?;
        let second: Option<ExeDigest> = fields.optional("legacy_exe_sha256")?;
        let blake3: Option<ExeDigest> = fields.optional("exe_hash")?;
        let to_vec = |digest: Option<ExeDigest>| digest.map_or_else(Vec::new, |digest| digest.to_vec());
        let message = protocol::DaemonProcess {
            pid: fields.required("pid")?,
            exe_path: fields.required("exe_path")?,
            exe_sha256: to_vec(first.or(second)),
            ipc_endpoint: Some(fields.required("ipc_endpoint")?),
            started_at_unix_ms: fields.required("started_at_unix_ms")?,
            boot_id: fields.required("boot_id")?,
            idle_timeout_secs: fields.optional("idle_timeout_secs")?,
            exe_hash_algorithm: fields.optional("exe_hash_algorithm")?.unwrap_or_default(),
            exe_hash: to_vec(blake3),
        };
        let mut daemon = Self::try_from(message).map_err(D::Error::custom)?;
        let exe_path_bytes: Option<Vec<u8>> = fields.optional("exe_path_bytes")?;
        daemon.exe_path = exact_path(daemon.exe_path, &exe_path_bytes.unwrap_or_default());
        daemon.origin = fields.origin()?.ok();
        Ok(daemon)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::deserialize(deserializer)?.origin()?.map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Fields::deserialize(deserializer)?;
        Ok(Self { namespace_id: fields.required("namespace_id")?, path: fields.required("path")? })
    }
}

/// What is left of an object. Nobody takes the fields of a generation to come.
struct Fields(serde_json::Map<String, Value>);

impl Fields {
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Map::deserialize(deserializer).map(Self)
    }

    /// Takes the value of a field; none if that is null, too.
    fn optional<T: DeserializeOwned, E: Error>(&mut self, name: &'static str) -> Result<Option<T>, E> {
        let value = self.0.remove(name).unwrap_or_default();
        Option::deserialize(value).map_err(|error| E::custom(format_args!("field `{name}`: {error}")))
    }

    fn required<T: DeserializeOwned, E: Error>(&mut self, name: &'static str) -> Result<T, E> {
        self.optional(name)?.ok_or_else(|| E::missing_field(name))
    }

    /// The origin, or what it lacks.
    fn origin<E: Error>(&mut self) -> Result<Result<Origin, IdentityError>, E> {
        let start_time = self.optional("kernel_start_time")?;
        let digits: Option<String> = self.optional("instance_id")?;
        let instance_id = digits.as_deref().map(instance_id_of_digits).transpose().map_err(E::custom)?;
        let pid_namespace = self.optional("pid_namespace")?;
        let inherited_listener = self.optional("inherited_listener")?.unwrap_or_default();
        let field = if instance_id.is_none() { "instance_id" } else { "kernel_start_time" };
        let origin = Origin::from_known(start_time, instance_id, pid_namespace, inherited_listener);
        Ok(origin.ok_or(IdentityError::MissingField { field }))
    }
}

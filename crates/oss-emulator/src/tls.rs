//! TLS with a certificate authority of our own, made when the emulator starts.
//!
//! A certificate is issued for whatever name a client asks for, so that virtual hosts of any
//! endpoint work. On request the certificates are bad in one of the classic ways.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use serde::Deserialize;

use crate::locks::lock;

/// Certificates kept by name; then the table starts again.
const MAX_KEPT: usize = 1024;

/// What kind of certificate a client is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CertificateKind {
    /// Valid for the name asked for.
    #[default]
    Good,
    /// Its time is over.
    Expired,
    /// For another name.
    WrongHost,
    /// Signed by itself instead of our authority.
    SelfSigned,
}

/// The server's side of TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    /// Issues the certificates.
    pub(crate) authority: Arc<Authority>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Makes an authority and what connections need of it.
    ///
    /// # Errors
    /// The certificate cannot be written, there is no randomness, or the TLS library refuses its
    /// own defaults.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let authority = Arc::new(Authority::create(directory)?);
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let resolver = Arc::clone(&authority);
        let config = builder.with_no_client_auth().with_cert_resolver(resolver);
        Ok(Self { authority, config: Arc::new(config) })
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// The TLS library refuses the configuration.
    pub(crate) fn accept(&self) -> io::Result<ServerConnection> {
        ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)
    }
}

/// Issues certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_file: PathBuf,
    kind: Mutex<CertificateKind>,
    issued: Mutex<HashMap<(CertificateKind, String), Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority and writes its certificate as PEM into `directory`.
    ///
    /// # Errors
    /// The file cannot be written, or there is no randomness.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "oss-emulator authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        fs::create_dir_all(directory)?;
        let ca_file = directory.join("oss-emulator-ca.pem");
        fs::write(&ca_file, certificate.pem())?;
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, ca_file, kind: Mutex::default(), issued: Mutex::default() })
    }

    /// Where the authority's certificate lies.
    pub(crate) fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Chooses what kind of certificate new connections are shown.
    pub(crate) fn set_kind(&self, kind: CertificateKind) {
        *lock(&self.kind) = kind;
    }

    fn certificate(&self, name: &str) -> io::Result<Arc<CertifiedKey>> {
        let kind = *lock(&self.kind);
        let place = (kind, name.to_owned());
        if let Some(known) = lock(&self.issued).get(&place) {
            return Ok(Arc::clone(known));
        }
        let certified = Arc::new(self.issue(kind, name)?);
        let mut issued = lock(&self.issued);
        if issued.len() >= MAX_KEPT {
            issued.clear();
        }
        issued.insert(place, Arc::clone(&certified));
        Ok(certified)
    }

    fn issue(&self, kind: CertificateKind, name: &str) -> io::Result<CertifiedKey> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "oss-emulator");
        params.subject_alt_names = names(if kind == CertificateKind::WrongHost { "" } else { name })?;
        if kind == CertificateKind::Expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let certificate = match kind {
            CertificateKind::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        let certificate = certificate.map_err(io::Error::other)?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = ring::sign::any_supported_type(&secret).map_err(io::Error::other)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], signer))
    }
}

/// The names of a certificate: the one asked for, or our addresses; "" for a name nobody has.
fn names(name: &str) -> io::Result<Vec<SanType>> {
    let dns = |name: &str| name.try_into().map(SanType::DnsName).map_err(io::Error::other);
    match name {
        "" => Ok(vec![dns("wrong.invalid")?]),
        ADDRESSES => Ok(vec![
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            dns("localhost")?,
        ]),
        name => Ok(vec![dns(name)?]),
    }
}

/// What clients mean that name no host, because they connect to an address.
const ADDRESSES: &str = "127.0.0.1";

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate(hello.server_name().unwrap_or(ADDRESSES)).ok()
    }
}

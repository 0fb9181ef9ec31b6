//! URLs that carry their own signature.

use oss_protocol::operation::Operation;
use oss_protocol::uri::ObjectUri;

use super::objects::on;
use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::Error;

impl Client {
    /// Makes a URL with which anybody can get the object for `expires_seconds`, or until the keys expire.
    ///
    /// Nothing is asked of the service, so the object need not be there. The URL is a credential.
    ///
    /// # Errors
    /// `Config` (more than seven days, or anonymous), `Credentials`.
    pub fn presign_get(
        &self,
        uri: &ObjectUri,
        expires_seconds: u32,
        cancel: &Cancel,
    ) -> Result<String, Error> {
        let request = on(Operation::GetObject, "GET", uri);
        self.transport("presign")?
            .presign(&request, expires_seconds, cancel)
            .map_err(|error| error.with_uri(uri.to_string()))
    }
}

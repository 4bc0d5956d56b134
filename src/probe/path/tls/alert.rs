//! The names of TLS' alerts.

/// Those for a certificate of the client that is missing: OpenSSL with TLS 1.2, Go and Java with TLS 1.2, everybody with TLS 1.3.
pub const MISSING: [u8; 3] = [40, 42, 116];

/// The name of an alert (RFC 8446 section 6, RFC 5246 section 7.2).
pub fn name(alert: u8) -> String {
    let name = match alert {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        116 => "certificate_required",
        120 => "no_application_protocol",
        other => return format!("alert {other}"),
    };
    format!("{name} ({alert})")
}

/// True for the beginning of a record of type alert (RFC 8446 section 5.1).
pub fn is_alert(bytes: &[u8]) -> bool {
    matches!(bytes, [21, 3, 0..=4, ..])
}

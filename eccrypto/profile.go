package eccrypto

// The JOSE library does not make the checks in this file: it accepts many forms of
// a token, as a general library may.

// checkOuter makes all checks of the JWE that need no key. It returns the id of the
// relay key that the token is encrypted to.
func (o *Opener) checkOuter(token string) (keyID string, err error) {
	if len(token) > MaxTokenSize {
		return "", refuse("longer than %d bytes", MaxTokenSize)
	}

	segments, err := splitCompact(token, outerSegments)
	if err != nil {
		return "", err
	}
	if segments[1] != "" {
		return "", refuse("encrypted key not empty")
	}
	if len(segments[4]) < tagChars { // checked early: tokens are often cut off when they are copied
		return "", refuse("tag not %d bytes: the token was cut off", gcmTagLength)
	}

	decoded, err := decodeSegments(segments)
	if err != nil {
		return "", err
	}
	switch header, iv, tag := decoded[0], decoded[2], decoded[4]; {
	case len(iv) != gcmNonceLength:
		return "", refuse("iv not %d bytes", gcmNonceLength)
	case len(tag) != gcmTagLength:
		return "", refuse("tag not %d bytes", gcmTagLength)
	default:
		return o.checkOuterHeader(header)
	}
}

func (o *Opener) checkOuterHeader(data []byte) (keyID string, err error) {
	h, err := parseObject(data)
	if err != nil {
		return "", within("header", err)
	}

	if _, err := h.oneOf("alg", algECDHES); err != nil {
		return "", err
	}
	if _, err := h.oneOf("enc", encA256GCM, encA128GCM); err != nil {
		return "", err
	}
	if _, err := h.oneOf("cty", outerCty); err != nil {
		return "", err
	}

	// This excludes zip, crit, jwk, x5c and all future members.
	if err := h.only("alg", "enc", "kid", "cty", "epk", "typ", "apu", "apv"); err != nil {
		return "", err
	}
	if err := checkOptional(h); err != nil {
		return "", err
	}

	if keyID, err = h.text("kid"); err != nil {
		return "", err
	}
	if o.private[keyID] == nil {
		return "", refuse("kid names no key of this relay")
	}
	return keyID, within("epk", checkEphemeralKey(h["epk"]))
}

// checkOptional checks the optional members of a header.
func checkOptional(h object) error {
	for _, name := range []string{"typ", "apu", "apv"} {
		if !h.has(name) {
			continue
		}
		s, err := h.text(name)
		if err != nil {
			return err
		}
		if _, ok := decodeSegment(s); !ok && name != "typ" {
			return refuse("member %s not canonical base64url", name)
		}
	}
	return nil
}

// checkEphemeralKey checks the spelling of the sender's ephemeral key. The key
// agreement checks that the point is on the curve.
func checkEphemeralKey(data []byte) error {
	epk, err := parseObject(data)
	if err != nil {
		return err
	}
	if err := epk.only("kty", "crv", "x", "y"); err != nil {
		return err
	}
	if _, err := epk.oneOf("kty", "EC"); err != nil {
		return err
	}
	if _, err := epk.oneOf("crv", "P-256"); err != nil {
		return err
	}

	if _, err := epk.binary("x", coordinateSize); err != nil {
		return err
	}
	_, err = epk.binary("y", coordinateSize)
	return err
}

// checkInner makes all checks of the JWS but that of its signature. It returns the
// issuer that the JWS names, and the issuer's key on record.
func (o *Opener) checkInner(token string) (issuer string, key *PublicKey, err error) {
	segments, err := splitCompact(token, innerSegments)
	if err != nil {
		return "", nil, within("inner", err)
	}

	decoded, err := decodeSegments(segments)
	if err != nil {
		return "", nil, within("inner", err)
	}

	issuer, key, err = o.checkInnerHeader(decoded[0])
	return issuer, key, within("inner header", err)
}

func (o *Opener) checkInnerHeader(data []byte) (issuer string, key *PublicKey, err error) {
	h, err := parseObject(data)
	if err != nil {
		return "", nil, err
	}
	if err := h.only("alg", "kid", "typ"); err != nil {
		return "", nil, err
	}
	if _, err := h.oneOf("typ", innerTyp); err != nil {
		return "", nil, err
	}

	if issuer, err = h.text("kid"); err != nil {
		return "", nil, err
	}
	key = o.issuers[issuer]
	if key == nil {
		return "", nil, refuse("issuer %s unknown", printable(issuer))
	}

	// The key decides and not the token, where an attacker could choose.
	if _, err := h.oneOf("alg", key.Algorithm()); err != nil {
		return "", nil, err
	}
	return issuer, key, nil
}

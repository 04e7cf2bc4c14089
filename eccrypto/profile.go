package eccrypto

// The checks in this file are made by hand because the JOSE library does not
// make them: it reads a token generously, as a general library may.

// checkOuter checks everything about the JWE that can be checked without a key,
// and returns the id of the relay key that it is encrypted to.
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
	if len(segments[4]) < tagChars { // said before all else: it is what happens to tokens that are copied
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
	// With this go zip, crit, jwk, x5c and whatever else is to be invented.
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

// checkOptional checks the members that a header need not have.
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

// checkEphemeralKey checks the spelling of the sender's ephemeral key. That the
// point is on the curve is for the key agreement to find out.
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

// checkInner checks everything about the JWS but its signature, and returns the
// issuer that it names and the issuer's key on record.
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
		return "", nil, refuse("issuer %s not known", printable(issuer))
	}
	// The key decides, never the token: an algorithm that the token may choose
	// is one that an attacker may choose.
	if _, err := h.oneOf("alg", key.Algorithm()); err != nil {
		return "", nil, err
	}
	return issuer, key, nil
}

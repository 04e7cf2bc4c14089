// Not run by CI. Needs com.nimbusds:nimbus-jose-jwt.
import com.nimbusds.jose.*;
import com.nimbusds.jose.crypto.*;
import com.nimbusds.jose.jwk.*;
import com.nimbusds.jwt.*;
import java.nio.file.*;
import java.security.KeyFactory;
import java.security.interfaces.ECPrivateKey;
import java.util.*;

class Mint {
    public static void main(String[] args) throws Exception {
        ECKey relay = JWKSet.load(new java.net.URL("http://localhost:8080/.well-known/jwks.json")).getKeys().get(0).toECKey();
        byte[] der = Base64.getMimeDecoder().decode(Files.readString(Path.of("my-backend.pem")).replaceAll("-----.*-----", ""));
        var key = (ECPrivateKey) KeyFactory.getInstance("EC").generatePrivate(new java.security.spec.PKCS8EncodedKeySpec(der));
        long now = System.currentTimeMillis();
        var jwt = new SignedJWT(new JWSHeader.Builder(JWSAlgorithm.ES256).type(new JOSEObjectType("relay+jwt")).keyID("my-backend").build(),
            new JWTClaimsSet.Builder().issuer("my-backend").subject("alice").audience(relay.getKeyID()).jwtID(UUID.randomUUID().toString())
                .issueTime(new Date(now)).expirationTime(new Date(now + 3_600_000)).claim("provider", "demo").claim("limits", Map.of("calls", 3)).build());
        jwt.sign(new ECDSASigner(key));
        var token = new JWEObject(new JWEHeader.Builder(JWEAlgorithm.ECDH_ES, EncryptionMethod.A256GCM).contentType("JWT").keyID(relay.getKeyID()).build(), new Payload(jwt));
        token.encrypt(new ECDHEncrypter(relay));
        System.out.println(token.serialize());
    }
}

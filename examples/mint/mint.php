<?php
// Not run by CI. Needs web-token/jwt-library 4: `composer require web-token/jwt-library`.
require 'vendor/autoload.php';

use Jose\Component\Core\{AlgorithmManager, JWK};
use Jose\Component\Encryption\Algorithm\{ContentEncryption\A256GCM, KeyEncryption\ECDHES};
use Jose\Component\Encryption\{JWEBuilder, Serializer\CompactSerializer as JWESerializer};
use Jose\Component\KeyManagement\JWKFactory;
use Jose\Component\Signature\{Algorithm\ES256, JWSBuilder, Serializer\CompactSerializer as JWSSerializer};

$relay = new JWK(json_decode(file_get_contents('http://localhost:8080/.well-known/jwks.json'), true)['keys'][0]);
$key = JWKFactory::createFromKeyFile('my-backend.pem');
$claims = [
    'iss' => 'my-backend', 'sub' => 'alice', 'aud' => $relay->get('kid'), 'jti' => bin2hex(random_bytes(16)),
    'iat' => time(), 'exp' => time() + 3600, 'provider' => 'demo', 'limits' => ['calls' => 3],
];
$jws = (new JWSBuilder(new AlgorithmManager([new ES256()])))->create()->withPayload(json_encode($claims))
    ->addSignature($key, ['alg' => 'ES256', 'typ' => 'relay+jwt', 'kid' => 'my-backend'])->build();
$jwe = (new JWEBuilder(new AlgorithmManager([new ECDHES(), new A256GCM()])))->create()
    ->withPayload((new JWSSerializer())->serialize($jws, 0))
    ->withSharedProtectedHeader(['alg' => 'ECDH-ES', 'enc' => 'A256GCM', 'cty' => 'JWT', 'kid' => $relay->get('kid')])
    ->addRecipient($relay)->build();
echo (new JWESerializer())->serialize($jwe, 0), "\n";

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// caddyfile is the same for all Caddys but for {relayapi}, a global option, and
// {site}, which is the proxy. The admin endpoint is there to read what the
// process has allocated. No subject logs requests.
const caddyfile = `{
	admin {admin}
	auto_https off
	skip_install_trust
	persist_config off
	default_bind 127.0.0.1
	grace_period 1s
	storage file_system "{dir}/caddy"
	servers {
		protocols h1 h2
	}
	log {
		level ERROR
	}
	{relayapi}
}
http://{plain} {
	{site}
}
https://{secure} {
	tls "{cert}" "{key}"
	{site}
}
`

// bareSite is the least that could stand in for a relay: one key for everybody.
const bareSite = `reverse_proxy http://{upstream} {
		header_up Authorization "Bearer ` + realKey + `"
	}`

// relayOption is a whole relay with a durable store, for tokens of an issuer of
// the bench's own.
const relayOption = `relayapi {
		store sqlite "{dir}/relayapi.db"
		private_key "{dir}/relay.pem"
		issuer bench {
			public_key "{dir}/bench.pub.pem"
			providers demo
			max_ttl 7d
		}
		provider demo http://{upstream} {
			credential header Authorization Bearer
			api_key {env.BENCH_KEY}
		}
	}`

// nginxConf is the same proxy in nginx. Buffers are large enough to keep bodies
// out of files, and answers are passed on as they come, as Caddy does.
const nginxConf = `daemon off;
worker_processes auto;
pid "{dir}/nginx.pid";
error_log stderr error;
events {
	worker_connections 8192;
}
http {
	access_log off;
	client_body_temp_path "{dir}/body";
	proxy_temp_path "{dir}/proxy";
	fastcgi_temp_path "{dir}/fastcgi";
	uwsgi_temp_path "{dir}/uwsgi";
	scgi_temp_path "{dir}/scgi";
	client_body_buffer_size 256k;
	keepalive_requests 100000000;
	upstream api {
		server {upstream};
		keepalive 64;
		keepalive_requests 100000000;
	}
	map $http_upgrade $connection_up {
		default upgrade;
		"" "";
	}
	server {
		listen {plain};
		listen {secure} ssl http2;
		ssl_certificate "{cert}";
		ssl_certificate_key "{key}";
		location / {
			proxy_pass http://api;
			proxy_http_version 1.1;
			proxy_buffering off;
			proxy_set_header Host $host;
			proxy_set_header Authorization "Bearer ` + realKey + `";
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_set_header X-Forwarded-Host $host;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection $connection_up;
		}
	}
}
`

// writeConfig writes a subject's configuration with its {names} filled in, in two
// rounds, because what is filled in has names of its own.
func writeConfig(file, text string, parts, names map[string]string) error {
	return os.WriteFile(file, []byte(fill(fill(text, parts), names)), 0o600)
}

func fill(text string, names map[string]string) string {
	for name, value := range names {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

// writeCertificate makes one certificate for all subjects, so that their
// handshakes cost the same.
func writeCertificate(dir string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(7 * 24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := writePEM(cert, "CERTIFICATE", certDER); err != nil {
		return "", "", err
	}
	return cert, key, writePEM(key, "PRIVATE KEY", keyDER)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

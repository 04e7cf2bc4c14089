# Builds Caddy with RelayAPI: docker build -t relay .
FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The tags leave out database drivers of Caddy's certificate authority.
RUN CGO_ENABLED=0 go build -trimpath -tags nobadger,nomysql,nopgx -ldflags '-s -w' -o /caddy ./cmd/caddy

FROM alpine:3
RUN apk add --no-cache ca-certificates
COPY --from=build /caddy /usr/bin/caddy
# /data holds the store, keys and certificates; /config the autosaved config.
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
# Collects garbage less often, at the cost of some tens of MB; see docs/operations.md.
ENV GOGC=400
VOLUME /data /config
EXPOSE 80 443 443/udp
ENTRYPOINT ["caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]

// Command gameserver is a game server for tests: it echoes, says who it is, and
// can be told to behave badly.
//
// Every answer starts with the name of its Pod, so that a test sees which Pod
// it reached. Environment variables:
//
//	PORT            echoes on UDP and TCP (7777)
//	EXTRA_PORTS     more of them: "7778,7779"
//	TLS_PORT        the TCP echo inside TLS, with a certificate of its own
//	HTTP_PORT       HTTP and WebSocket (8080): /, /client (its address),
//	                /notes (what the kubelet tells it of its allocation), /healthz, /ws
//	READY_AFTER     seconds until /healthz answers 200 (0)
//	NEVER_READY     /healthz never answers 200
//	EXIT_AFTER      seconds until it exits, with EXIT_CODE (0)
//	CRASH           exits at once, with code 1
//	LAST_LINE       what it prints before it exits
//	HOG_MEMORY_MB   takes so much memory: to be killed for it
package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

func main() {
	log.SetFlags(0)
	name := podName()
	started := time.Now()
	if os.Getenv("CRASH") != "" {
		exit(1)
	}
	for _, port := range append([]string{env("PORT", "7777")}, extraPorts()...) {
		go must(echoUDP(name, port))
		go must(echoTCP(name, port))
	}
	if port := os.Getenv("TLS_PORT"); port != "" {
		go must(echoTLS(name, port))
	}
	go must(serveHTTP(name, started))
	log.Printf("%s: ready for players on %s", name, env("PORT", "7777"))
	if megabytes := number("HOG_MEMORY_MB"); megabytes > 0 {
		hog(int(megabytes))
	}

	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	var timeUp <-chan time.Time
	if os.Getenv("EXIT_AFTER") != "" {
		timeUp = time.After(seconds("EXIT_AFTER"))
	}
	select {
	case <-end:
		exit(0)
	case <-timeUp:
		exit(int(number("EXIT_CODE")))
	}
}

func podName() string {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name
	}
	name, _ := os.Hostname()
	return name
}

// echoUDP listens before it returns; what it returns serves.
func echoUDP(name, port string) func() error {
	conn, err := net.ListenPacket("udp", ":"+port)
	check(err)
	return func() error {
		buffer := make([]byte, 64*1024)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return err
			}
			if _, err := conn.WriteTo(append([]byte(name+" "), buffer[:n]...), from); err != nil {
				log.Printf("udp: %v", err)
			}
		}
	}
}

func echoTCP(name, port string) func() error {
	listener, err := net.Listen("tcp", ":"+port)
	check(err)
	return echo(name, listener)
}

func echoTLS(name, port string) func() error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(err)
	now := time.Now()
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}
	signed, err := x509.CreateCertificate(rand.Reader, certificate, certificate, public, private)
	check(err)
	own := tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: private}
	config := &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
	listener, err := tls.Listen("tcp", ":"+port, config)
	check(err)
	return echo(name, listener)
}

func echo(name string, listener net.Listener) func() error {
	return func() error {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return err
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					fmt.Fprintf(conn, "%s %s\n", name, lines.Text())
				}
			}()
		}
	}
}

func serveHTTP(name string, started time.Time) func() error {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s\n", name, r.URL.Path)
	})
	mux.HandleFunc("/notes", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, "/etc/podfleet/annotations")
	})
	mux.HandleFunc("/client", func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintln(w, host)
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("NEVER_READY") != "" || time.Since(started) < seconds("READY_AFTER") {
			http.Error(w, "still loading the map", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, data, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if err := conn.Write(r.Context(), kind, append([]byte(name+" "), data...)); err != nil {
				return
			}
		}
	})
	listener, err := net.Listen("tcp", ":"+env("HTTP_PORT", "8080"))
	check(err)
	return func() error { return http.Serve(listener, mux) }
}

var hogged []byte

func hog(megabytes int) {
	hogged = make([]byte, megabytes<<20)
	for i := 0; i < len(hogged); i += 4096 {
		hogged[i] = 1
	}
}

func extraPorts() []string {
	return strings.FieldsFunc(os.Getenv("EXTRA_PORTS"), func(r rune) bool { return r == ',' })
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func number(name string) float64 {
	value, err := strconv.ParseFloat(env(name, "0"), 64)
	check(err)
	return value
}

func seconds(name string) time.Duration {
	return time.Duration(number(name) * float64(time.Second))
}

func must(serve func() error) { check(serve()) }

func check(err error) {
	if err != nil {
		log.Print(err)
		exit(1)
	}
}

func exit(code int) {
	if line := os.Getenv("LAST_LINE"); line != "" {
		log.Print(line)
	}
	os.Exit(code)
}

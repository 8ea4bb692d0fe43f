// Go's gorilla/websocket: see the README beside.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const (
	fragment = 10_007
	// Whole messages fit into one frame.
	whole   = 2 << 20
	burst   = 200
	tooMuch = 1<<20 + 1
)

var (
	address, folder   = os.Args[1], os.Args[2]
	offersCompression = os.Args[3] == "offer"
	inFragments       = []string{"repeated.txt", "random.bin"}
)

func main() {
	talk()
	beClosed()
	sayTooMuch()
}

func talk() {
	conn, extension := dial(whole)
	tell("extension", extension)
	tell("subprotocol", conn.Subprotocol())
	for _, name := range payloads() {
		kind, content := payload(name)
		must(conn.WriteMessage(kind, content))
		tell("message "+name, hear(conn))
	}
	for number := 0; number < burst; number++ {
		must(conn.WriteMessage(websocket.TextMessage, []byte(strconv.Itoa(number))))
	}
	echoes := make([]string, burst)
	for number := range echoes {
		_, content, err := conn.ReadMessage()
		must(err)
		echoes[number] = string(content)
	}
	tell("burst", echoes)
	pingBothWays(conn)
	close := websocket.FormatCloseMessage(4001, "enough")
	must(conn.WriteControl(websocket.CloseMessage, close, time.Time{}))
	tell("close by client", receivedClose(conn).Code)
}

// What is pinged is seen while the next message is read.
func pingBothWays(conn *websocket.Conn) {
	var pong, pinged *string
	conn.SetPongHandler(func(payload string) error {
		pong = &payload
		return nil
	})
	answer := conn.PingHandler()
	conn.SetPingHandler(func(payload string) error {
		pinged = &payload
		return answer(payload)
	})
	must(conn.WriteControl(websocket.PingMessage, []byte("are you there?"), time.Time{}))
	for _, message := range []string{"!ping and you?", "go on"} {
		must(conn.WriteMessage(websocket.TextMessage, []byte(message)))
	}
	hear(conn)
	tell("ping", pong)
	tell("pinged", pinged)
}

func beClosed() {
	conn, _ := dial(fragment)
	for _, name := range inFragments {
		// Every frame is as large as the buffer for writing, however the message is given.
		kind, content := payload(name)
		must(conn.WriteMessage(kind, content))
		tell("fragments "+name, hear(conn))
	}
	must(conn.WriteMessage(websocket.TextMessage, []byte("!close 4002 that is all")))
	tell("close by server", codeAndReason(receivedClose(conn)))
}

func sayTooMuch() {
	conn, _ := dial(whole)
	// The answer may come before all was written.
	_ = conn.WriteMessage(websocket.BinaryMessage, make([]byte, tooMuch))
	tell("too big", codeAndReason(receivedClose(conn)))
}

// dial returns a connection whose frames have that size at most, and the extension agreed on.
func dial(frameSize int) (*websocket.Conn, *string) {
	dialer := websocket.Dialer{
		EnableCompression: offersCompression,
		Subprotocols:      []string{"throng"},
		WriteBufferSize:   frameSize,
	}
	conn, response, err := dialer.Dial("ws://"+address+"/", nil)
	must(err)
	if extensions := response.Header["Sec-Websocket-Extensions"]; extensions != nil {
		all := strings.Join(extensions, ", ")
		return conn, &all
	}
	return conn, nil
}

func hear(conn *websocket.Conn) string {
	kind, content, err := conn.ReadMessage()
	must(err)
	name := "text"
	if kind == websocket.BinaryMessage {
		name = "binary"
	}
	return fmt.Sprintf("%s %d %x", name, len(content), sha256.Sum256(content))
}

func receivedClose(conn *websocket.Conn) *websocket.CloseError {
	_, _, err := conn.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) {
		must(fmt.Errorf("instead of a close: %v", err))
	}
	return closed
}

func codeAndReason(closed *websocket.CloseError) []any {
	return []any{closed.Code, closed.Text}
}

func payloads() []string {
	paths, err := filepath.Glob(filepath.Join(folder, "*"))
	must(err)
	for at, path := range paths {
		paths[at] = filepath.Base(path)
	}
	return paths
}

func payload(name string) (int, []byte) {
	content, err := os.ReadFile(filepath.Join(folder, name))
	must(err)
	if strings.HasSuffix(name, ".txt") {
		return websocket.TextMessage, content
	}
	return websocket.BinaryMessage, content
}

func tell(check string, saw any) {
	line, err := json.Marshal(map[string]any{"check": check, "saw": saw})
	must(err)
	fmt.Println(string(line))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

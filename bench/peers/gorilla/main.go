// Go's gorilla/websocket, for the same scenarios as the engine.
//
// Its documentation: in rooms the hub of its example "chat" (a goroutine that knows all clients,
// and for each client one that reads and one that writes, with a channel of 256 messages between;
// who does not keep up is dropped), and a PreparedMessage for what goes to many. Buffers are those
// of the HTTP server, which are reused when no size is given, with a pool for writing, as there
// are many connections. A message is a write: the package has no way to gather them, and that of
// its example, one message out of several, would be other messages.
//
// The first line on standard output is "listening on ADDR".
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// Messages that a client may be behind.
const behind = 256

var upgrader = websocket.Upgrader{WriteBufferPool: &sync.Pool{}}

func main() {
	scenario := flag.String("scenario", "echo", "what happens to a message: echo, room")
	listen := flag.String("listen", "127.0.0.1:0", "the address to listen on")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	handler := map[string]http.HandlerFunc{"echo": echo, "room": newHub().join}[*scenario]
	if handler == nil {
		log.Fatalf("scenario %s: must be echo or room", *scenario)
	}
	fmt.Println("listening on", listener.Addr())
	log.Fatal(http.Serve(listener, handler))
}

func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	var buffer bytes.Buffer
	for {
		kind, err := receive(conn, &buffer)
		if err != nil {
			return
		}
		if err := conn.WriteMessage(kind, buffer.Bytes()); err != nil {
			return
		}
	}
}

// receive reads a message into the buffer, which is reused: ReadMessage would allocate each.
func receive(conn *websocket.Conn, buffer *bytes.Buffer) (int, error) {
	kind, reader, err := conn.NextReader()
	if err != nil {
		return 0, err
	}
	buffer.Reset()
	_, err = buffer.ReadFrom(reader)
	return kind, err
}

type hub struct {
	clients    map[*client]bool
	broadcast  chan *websocket.PreparedMessage
	register   chan *client
	unregister chan *client
}

type client struct {
	conn *websocket.Conn
	send chan *websocket.PreparedMessage
}

func newHub() *hub {
	h := &hub{
		clients:    map[*client]bool{},
		broadcast:  make(chan *websocket.PreparedMessage),
		register:   make(chan *client),
		unregister: make(chan *client),
	}
	go h.run()
	return h
}

func (h *hub) run() {
	for {
		select {
		case c := <-h.register:
			h.clients[c] = true
		case c := <-h.unregister:
			h.drop(c)
		case message := <-h.broadcast:
			for c := range h.clients {
				select {
				case c.send <- message:
				default:
					h.drop(c)
				}
			}
		}
	}
}

func (h *hub) drop(c *client) {
	if h.clients[c] {
		delete(h.clients, c)
		close(c.send)
	}
}

func (h *hub) join(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := &client{conn: conn, send: make(chan *websocket.PreparedMessage, behind)}
	h.register <- c
	// In new goroutines, so that what the request holds can be freed.
	go c.write()
	go c.read(h)
}

func (c *client) read(h *hub) {
	defer func() {
		h.unregister <- c
		c.conn.Close()
	}()
	var buffer bytes.Buffer
	for {
		kind, err := receive(c.conn, &buffer)
		if err != nil {
			return
		}
		// It keeps a copy.
		prepared, err := websocket.NewPreparedMessage(kind, buffer.Bytes())
		if err != nil {
			return
		}
		h.broadcast <- prepared
	}
}

func (c *client) write() {
	defer c.conn.Close()
	for message := range c.send {
		if err := c.conn.WritePreparedMessage(message); err != nil {
			return
		}
	}
}

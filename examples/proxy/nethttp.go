// Go's net/http through `pixelmeter proxy`: the base URL is all that is different.
//
//	OPENAI_BASE_URL=http://127.0.0.1:8088/v1 OPENAI_API_KEY=... go run examples/proxy/nethttp.go
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	body, _ := json.Marshal(map[string]any{"model": "meta/sam-3-1-image", "prompt": "a red fox in the snow"})
	request, err := http.NewRequest("POST", os.Getenv("OPENAI_BASE_URL")+"/images/generations", bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+os.Getenv("OPENAI_API_KEY"))
	// Whom the call is spent for; the gateway does not see it.
	request.Header.Set("X-Pixelmeter-Tags", os.Getenv("PIXELMETER_CALL_TAGS"))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s", answer.Status, text)
	}
	var found struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(text, &found); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(found.Data), "image")
}

// Make an image from Go, with net/http alone, and have it metered by a proxy beside the program.
//
//	pixelmeter proxy --upstream https://api.aigateway.sh &
//	export OPENAI_API_KEY=... OPENAI_BASE_URL=http://127.0.0.1:8088/v1
//	go run ./examples/go
//
// Afterwards `pixelmeter report --by tag:customer` says what each customer cost.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"
)

type request struct {
	Model          string `json:"model"`
	Prompt         string `json:"prompt"`
	ResponseFormat string `json:"response_format"`
}

type answer struct {
	Data []struct {
		URL string `json:"url"`
	} `json:"data"`
}

// A picture may take minutes.
var client = &http.Client{Timeout: 5 * time.Minute}

func picture(customer, prompt string) (string, error) {
	body, err := json.Marshal(request{Model: "meta/sam-3-1-image", Prompt: prompt, ResponseFormat: "url"})
	if err != nil {
		return "", err
	}
	call, err := http.NewRequest(http.MethodPost, os.Getenv("OPENAI_BASE_URL")+"/images/generations", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	call.Header.Set("Authorization", "Bearer "+os.Getenv("OPENAI_API_KEY"))
	call.Header.Set("Content-Type", "application/json")
	// For the proxy, which takes it out: whom the call is spent for.
	call.Header.Set("x-pixelmeter-tags", "customer="+url.PathEscape(customer))
	response, err := client.Do(call)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 2000))
		return "", fmt.Errorf("%s: %s", response.Status, said)
	}
	var made answer
	if err := json.NewDecoder(response.Body).Decode(&made); err != nil {
		return "", err
	}
	if len(made.Data) == 0 {
		return "", fmt.Errorf("no picture for %s", customer)
	}
	return made.Data[0].URL, nil
}

func main() {
	for _, customer := range []string{"acme", "globex"} {
		made, err := picture(customer, "a banner for "+customer)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(made)
	}
}

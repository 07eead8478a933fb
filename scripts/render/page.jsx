// Draws a dashboard with Grafana's own components, as far as they are published.
import React from 'react';
import { createRoot } from 'react-dom/client';
import {
  applyFieldOverrides, createTheme, dateTime, displayNameOverrideProcessor, FieldConfigOptionsRegistry,
  getFieldDisplayValues, identityOverrideProcessor, numberOverrideProcessor, standardFieldConfigEditorRegistry,
  thresholdsOverrideProcessor, unitOverrideProcessor, valueMappingsOverrideProcessor,
} from '@grafana/data';
import { BigValue, ThemeContext, TimeSeries } from '@grafana/ui';
import { scene as sceneOf } from './data.js';
import { SimpleHeatmap, SimpleStates, SimpleTable } from './drawn.jsx';

const [CELL_WIDTH, CELL_HEIGHT, GAP, TITLE, HEAD] = [54, 38, 8, 30, 56];
const theme = createTheme({ colors: { mode: 'dark' } });

const option = (id, process, more = {}) => ({
  id, path: id, name: id, process, override: process, editor: () => null, settings: {}, shouldApply: () => true, ...more,
});
const standard = [
  option('displayName', displayNameOverrideProcessor),
  option('unit', unitOverrideProcessor),
  ...['min', 'max', 'decimals'].map((id) => option(id, numberOverrideProcessor)),
  option('thresholds', thresholdsOverrideProcessor),
  option('mappings', valueMappingsOverrideProcessor),
  ...['color', 'noValue', 'links'].map((id) => option(id, identityOverrideProcessor)),
];
const custom = ['drawStyle', 'lineWidth', 'fillOpacity', 'showPoints', 'pointSize', 'spanNulls', 'stacking', 'thresholdsStyle', 'axisSoftMax', 'lineStyle'];
standardFieldConfigEditorRegistry.setInit(() => standard);
const registry = new FieldConfigOptionsRegistry(() => [
  ...standard,
  ...custom.map((path) => option(`custom.${path}`, identityOverrideProcessor, { path, isCustom: true })),
]);

function Stat({ panel, data, scene, width, height }) {
  const values = getFieldDisplayValues({
    fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: scene.filled, theme, data,
  });
  return values.map((value, number) => (
    <BigValue
      key={number} value={{ ...value.display, title: '' }} theme={theme} width={width} height={height}
      colorMode={panel.options.colorMode} graphMode="none" justifyMode="auto" textMode="value" text={panel.options.text}
    />
  ));
}

function Graph({ panel, data, scene, width, height, sinceDays }) {
  // Bars are days, and the last one has only begun.
  const from = sinceDays ? dateTime(scene.to * 1000).subtract(sinceDays, 'days') : dateTime(scene.from * 1000);
  const to = dateTime(scene.to * 1000);
  return (
    <TimeSeries
      width={width} height={height} frames={data} timeRange={{ from, to, raw: { from, to } }} timeZone="utc"
      legend={panel.options.legend} options={{}} tweakAxis={(axis) => axis}
    />
  );
}

function body(panel, answers, scene, width, height) {
  if (panel.type === 'table') return <SimpleTable {...{ panel, answers, theme, height }} />;
  if (panel.type === 'heatmap') return <SimpleHeatmap {...{ panel, answers, scene, theme, width, height }} />;
  if (panel.type === 'state-timeline') return <SimpleStates {...{ panel, answers, scene, theme, width }} />;
  const rows = answers[0].rows;
  const frames = rows ? rows.map((row) => Object.values(row).map(Number)) : null;
  const data = applyFieldOverrides({
    data: frames ? [numbers(frames)] : answers,
    fieldConfig: panel.fieldConfig, theme, replaceVariables: scene.filled, timeZone: 'utc', fieldConfigRegistry: registry,
  });
  if (panel.type === 'stat') return <Stat {...{ panel, data, scene, width, height }} />;
  const isDaily = panel.targets.some((target) => target.rawSql);
  const days = panel.timeFrom === 'now/M' ? dateTime(scene.to * 1000).utc().date() : 30;
  return <Graph {...{ panel, data, scene, width, height, sinceDays: isDaily ? days : 0 }} />;
}

const numbers = ([row]) => ({
  length: 1,
  fields: row.map((value) => ({ name: 'value', type: 'number', config: {}, values: [value] })),
});

function Panel({ panel, scene }) {
  const [answers, setAnswers] = React.useState(null);
  const [error, setError] = React.useState(null);
  React.useEffect(() => {
    scene.frames(panel).then(setAnswers).catch((problem) => setError(problem.message));
  }, []);
  const { x, y, w, h } = panel.gridPos;
  const [width, height] = [w * CELL_WIDTH - GAP, h * CELL_HEIGHT - GAP];
  const found = answers?.some((answer) => (answer.rows ?? answer.fields).length);
  const state = error ? 'error' : answers ? (found ? 'ok' : 'empty') : 'waiting';
  const inside = [width - 16, height - TITLE - 8];
  return (
    <section
      data-panel={panel.title} data-state={state}
      style={{
        position: 'absolute', left: x * CELL_WIDTH + GAP, top: y * CELL_HEIGHT + HEAD, width, height, overflow: 'hidden',
        background: theme.colors.background.primary, border: `1px solid ${theme.colors.border.weak}`, borderRadius: 2,
      }}
    >
      <div style={{ padding: '6px 8px 0', height: TITLE, fontSize: 14, fontWeight: 500, whiteSpace: 'nowrap' }}>{panel.title}</div>
      <div style={{ padding: '0 8px' }}>
        {error && <pre>{error}</pre>}
        {state === 'empty' && (
          <div style={{ color: theme.colors.text.secondary, textAlign: 'center', paddingTop: inside[1] / 3 }}>
            {panel.fieldConfig.defaults.noValue}
          </div>
        )}
        {state === 'ok' && body(panel, answers, scene, ...inside)}
      </div>
    </section>
  );
}

class Guard extends React.Component {
  state = {};
  static getDerivedStateFromError(error) {
    return { error };
  }
  render() {
    const { error } = this.state;
    return error ? <pre data-panel={this.props.title} data-state="crashed">{String(error.stack)}</pre> : this.props.children;
  }
}

function Dashboard({ dashboard, scene }) {
  return (
    <ThemeContext.Provider value={theme}>
      <header style={{ padding: '16px 12px', fontSize: 20 }}>{dashboard.title}</header>
      {dashboard.panels.map((panel) =>
        panel.type === 'row' ? (
          <h2
            key={panel.id}
            style={{ position: 'absolute', left: 12, top: panel.gridPos.y * CELL_HEIGHT + HEAD - 2, fontSize: 16, margin: 0, paddingTop: 8 }}
          >
            {panel.title}
          </h2>
        ) : (
          <Guard key={panel.id} title={panel.title}>
            <Panel panel={panel} scene={scene} />
          </Guard>
        ),
      )}
    </ThemeContext.Provider>
  );
}

const asked = new URLSearchParams(location.search);
const [dashboard, told] = await Promise.all(
  [`${asked.get('uid')}.json`, `${asked.get('uid')}.told.json`].map(async (name) => (await fetch(name)).json()),
);
document.body.style.cssText = `margin:0;background:${theme.colors.background.canvas};color:${theme.colors.text.primary};font-family:Inter,Helvetica,Arial,sans-serif`;
createRoot(document.getElementById('dashboard')).render(<Dashboard dashboard={dashboard} scene={sceneOf(told)} />);

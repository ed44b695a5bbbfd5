@echo off
rem Make the offline channel ROOT\LABEL anew from a list of packages:
rem
rem     set "REPACK_CHANNELS=https://conda.example.org/t/${TOKEN}/vendor https://conda.example.org/main"
rem     update-offline-repo.cmd LABEL TOKEN ROOT PACKAGE...
rem
rem TOKEN takes the place of ${TOKEN} in REPACK_CHANNELS (in priority order, between spaces); a
rem minus takes it from the variable TOKEN. It is handed on as a variable and written nowhere.
rem REPACK_PLATFORMS says for which platforms, win-64 if it says nothing. A PACKAGE is a MatchSpec;
rem put one with blanks or signs in quotes: "pytho >=4.1".
rem
rem Solves afresh every time. For channels that live on, write labels\LABEL.yaml and use
rem `repack label`, which keeps a lock.
setlocal EnableExtensions DisableDelayedExpansion

if "%~4"=="" goto usage
if not defined REPACK_CHANNELS goto no_channels
set "LABEL=%~1"
if not defined LABEL goto bad_label
if not "%~2"=="-" set "TOKEN=%~2"
set "ROOT=%~3"
rem What is not a plain name would lead out of the folder for label files.
for /f "delims=abcdefghijklmnopqrstuvwxyz0123456789._-" %%X in ("%LABEL%") do goto bad_label
if not defined REPACK_PLATFORMS set "REPACK_PLATFORMS=win-64"

rem What echo writes into the label file is to be UTF-8.
set "PAGE="
for /f "tokens=2 delims=:." %%C in ('chcp') do set "PAGE=%%C"
chcp 65001 >nul

set "WORK=%TEMP%\repack-%RANDOM%%RANDOM%"
set "CODE=2"
mkdir "%WORK%" || goto leave
set "FILE=%WORK%\%LABEL%.yaml"

>"%FILE%" echo label: "%LABEL%"
>>"%FILE%" echo channels:
set "REST=%REPACK_CHANNELS%"
:channel
for /f "tokens=1*" %%A in ("%REST%") do set "ITEM=%%A" & set "REST=%%B"
rem A backslash would be an escape in YAML.
>>"%FILE%" echo   - "%ITEM:\=/%"
if defined REST goto channel

>>"%FILE%" echo platforms:
set "REST=%REPACK_PLATFORMS%"
:platform
for /f "tokens=1*" %%A in ("%REST%") do set "ITEM=%%A" & set "REST=%%B"
>>"%FILE%" echo   "%ITEM%": {}
if defined REST goto platform

>>"%FILE%" echo packages:
:package
>>"%FILE%" echo   - "%~4"
shift /4
if not "%~4"=="" goto package

if not defined REPACK for %%N in (repack.exe) do set "REPACK=%%~$PATH:N"
if not defined REPACK goto from_source
rem Only a batch file is called: call takes every caret twice.
set "HOW="
for %%R in ("%REPACK%") do for %%X in (.cmd .bat) do if /i "%%~xR"=="%%X" set "HOW=call"
%HOW% "%REPACK%" label "%LABEL%" --labels-dir "%WORK%" --channels-dir "%ROOT%"
goto done
:from_source
set "PYTHONPATH=%~dp0..;%PYTHONPATH%"
python -m repack label "%LABEL%" --labels-dir "%WORK%" --channels-dir "%ROOT%"
:done
set "CODE=%errorlevel%"
:leave
if exist "%WORK%" rmdir /s /q "%WORK%"
if defined PAGE chcp %PAGE% >nul
exit /b %CODE%

:usage
echo error: usage: update-offline-repo.cmd LABEL TOKEN ROOT PACKAGE... 1>&2
exit /b 2
:no_channels
echo error: REPACK_CHANNELS is not set: the URLs of the upstream channels 1>&2
exit /b 2
:bad_label
echo error: no label name: "%LABEL%" 1>&2
exit /b 2
